package delivery

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

func TestDropMembers(t *testing.T) {
	for _, test := range []struct {
		body, want string
		names      []string
	}{
		{`{"id":"u","locale":"x"}`, `{"id":"u"}`, []string{"locale"}},
		{`{"locale":"x","id":"u"}`, `{"id":"u"}`, []string{"locale"}},
		{`{"locale":"x"}`, `{}`, []string{"locale"}},
		{`{"a":1.50,"b":1e3,"locale":{"a":[1]},"c":12345678901234567890}`,
			`{"a":1.50,"b":1e3,"c":12345678901234567890}`, []string{"locale", "email"}},
		{`{"z":1,"email":1,"a":{"email":2},"locale":null,"m":["email"]}`, `{"z":1,"a":{"email":2},"m":["email"]}`,
			[]string{"locale", "email"}},
		{`{"loc\u0061le":"x","b":"\u00e9"}`, `{"b":"\u00e9"}`, []string{"locale"}},
		{"{ \"locale\" : 1 ,\n \"a\" : [ 1, 2 ] }", `{"a":[ 1, 2 ]}`, []string{"locale"}},
		{`{"id":"u"}`, "", []string{"locale"}},
		{`{"locale":1,"locale":2}`, "", []string{"locale"}},
		{`{"locale":1`, "", []string{"locale"}},
		{`["locale"]`, "", []string{"locale"}},
		{``, "", []string{"locale"}},
		{`{"locale":1}`, "", nil},
	} {
		got, dropped := dropMembers([]byte(test.body), test.names)
		if dropped != (test.want != "") || dropped && string(got) != test.want || !dropped &&
			string(got) != test.body {
			t.Errorf("%s without %v: %s (%t), want %s", test.body, test.names, got, dropped, test.want)
		}
	}
}

// FuzzDropMembers checks that the rest of the body stays, in its order.
func FuzzDropMembers(f *testing.F) {
	f.Add([]byte(`{"id":"u","locale":"en","customFields":{"a":1.50},"email":null}`))
	f.Add([]byte(`{"loc\u0061le":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, dropped := dropMembers(body, []string{"locale", "email"})
		if !bytes.Equal(body, before) {
			t.Fatal("the body was written to")
		}
		if !dropped {
			if !bytes.Equal(got, body) {
				t.Fatalf("%s became %s", body, got)
			}
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%s became %s, which is no JSON", body, got)
		}
		if again, more := dropMembers(got, []string{"locale", "email"}); more {
			t.Fatalf("%s became %s, and then %s", body, got, again)
		}
		names, left := members(t, body), members(t, got)
		names = slices.DeleteFunc(names, func(m [2]string) bool { return m[0] == "locale" || m[0] == "email" })
		if !slices.Equal(names, left) {
			t.Fatalf("%q is left of %s", left, body)
		}
	})
}

// members lists names and values of an object as another decoder reads them.
func members(t *testing.T, body []byte) (list [][2]string) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		list = append(list, [2]string{name.(string), string(value)})
	}
	return list
}
