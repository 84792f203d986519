package mapping_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"segment-saasquatch/mapping"
)

// TestAppendWithTraits checks that only the traits change.
func TestAppendWithTraits(t *testing.T) {
	const traits = `{"plan":"gold"}`
	for _, test := range []struct{ name, event, want string }{
		{"own", `{"a":1,"traits":{"plan":"old"},"b":[{"traits":1}]}`,
			`{"a":1,"traits":{"plan":"gold"},"b":[{"traits":1}]}`},
		{"none", `{"a":1}`, `{"traits":{"plan":"gold"},"a":1}`},
		{"empty", ` {} `, ` {"traits":{"plan":"gold"}} `},
		{"null", `{ "traits" : null }`, `{ "traits" : {"plan":"gold"} }`},
		{"another spelling", `{"Traits":{"a":1}}`, `{"traits":{"plan":"gold"},"Traits":{"a":1}}`},
		{"escaped name", `{"tr\u0061its":{"a":1}}`, `{"tr\u0061its":{"plan":"gold"}}`},
		{"of the context", `{"context":{"traits":{"a":1}}}`,
			`{"traits":{"plan":"gold"},"context":{"traits":{"a":1}}}`},
		{"behind a byte order mark", "\ufeff{\"a\":1}", "\ufeff{\"traits\":{\"plan\":\"gold\"},\"a\":1}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := string(mapping.AppendWithTraits(nil, []byte(test.event), []byte(traits))); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// FuzzMerge compares the traits after AppendWithTraits with the given ones, and EachMember with encoding/json.
func FuzzMerge(f *testing.F) {
	for _, event := range []string{
		`{"type":"identify","userId":"u","traits":{"a":1,"b":{"c":[]}}}`, `{"Traits":{"a":1},"type":"identify"}`,
		`{"context":{"traits":{"a":null}}}`, `{"traits":"{}","tr\u0061its ":1}`, `{}`,
		`{"traits":{"é\u0000":"\ud800"}}`,
	} {
		f.Add([]byte(event), []byte(`{"x":"y"}`))
	}
	f.Add([]byte(`{}`), []byte(`{} `))
	f.Add([]byte(`{}`), []byte(`{},"x":{}`))
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		f.Fatal(err)
	}
	traitsOf := func(event []byte) (traits []byte, taken bool) {
		mapper.MapWith(event, time.Time{},
			mapping.Options{Selects: func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
				traits, taken = append(traits, c.Traits()...), true
				return mapping.KindSkip, "", ""
			}})
		return traits, taken
	}
	f.Fuzz(func(t *testing.T, event, other []byte) {
		traits, taken := traitsOf(event)
		if !taken {
			return
		}
		if len(traits) > 0 {
			members := 0
			mapping.EachMember(traits, func(_, quoted, value []byte) bool {
				members++
				if !json.Valid(quoted) || !json.Valid(value) {
					t.Errorf("member %s: %s", quoted, value)
				}
				return true
			})
			var object map[string]json.RawMessage
			if err := json.Unmarshal(traits, &object); err != nil {
				t.Fatal(err)
			}
			if members < len(object) {
				t.Errorf("%d members of %s", members, traits)
			}
		}
		other = bytes.Trim(other, " \t\r\n")
		wrapped := append(append([]byte(`{"traits":`), other...), '}')
		if _, isTaken := traitsOf(wrapped); !isTaken || !json.Valid(other) || other[0] != '{' {
			return
		}
		merged := mapping.AppendWithTraits(nil, event, other)
		if got, ok := traitsOf(merged); !ok || string(got) != string(other) {
			t.Errorf("%s has the traits %s, want %s", merged, got, other)
		}
	})
}
