package saasquatch

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzReadBody compares the members that readBody and encoding/json find in a body.
func FuzzReadBody(f *testing.F) {
	for _, seed := range []string{
		"", " ", "{}", "\ufeff{}", `{"statusCode":400,"rsCode":"RS042"}`, `{"statusCode":"404"}`,
		`{"a":{"statusCode":400}}`, `{"statusCode":1e999}`,
		`{"apiErrorCode":"A","apiErrorCode":""}`, "<html>", "[]", "{} x", `{"message":"\u00e9`, "\x1f\x8b\x08\x00",
		`{"statusCode":4`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, whole bool) {
		var reader io.Reader = iotest.HalfReader(bytes.NewReader(body))
		if !whole {
			reader = io.MultiReader(reader, iotest.ErrReader(io.ErrUnexpectedEOF))
		}
		got := readBody(400, reader)
		if bytes.HasPrefix(body, []byte("\x1f\x8b")) {
			return
		}
		text := bytes.Trim(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
		var want apiError
		members := make(map[string]json.RawMessage)
		object := json.Unmarshal(text, &members) == nil && bytes.HasPrefix(text, []byte("{"))
		switch {
		case len(text) == 0:
			if got.form != formEmpty {
				t.Errorf("%q: form %d", body, got.form)
			}
		case object:
			if got.form != formObject {
				t.Errorf("%q: form %d", body, got.form)
			}
			_ = json.Unmarshal(members["apiErrorCode"], &want.APIErrorCode)
			_ = json.Unmarshal(members["rsCode"], &want.RSCode)
			if got.failure.APIErrorCode != want.APIErrorCode || got.failure.RSCode != want.RSCode {
				t.Errorf("%q: got %+v, want %+v", body, got.failure, want)
			}
			var status float64
			if json.Unmarshal(members["statusCode"], &status) == nil && 300 <= status && status < 1000 &&
				status == float64(int(status)) && got.failure.StatusCode != int(status) {
				t.Errorf("%q: status %d", body, got.failure.StatusCode)
			}
		case got.form == formEmpty, got.form == formBroken && (whole || text[0] != '{'):
			t.Errorf("%q: form %d", body, got.form)
		}
		if got.failure.stated != got.failure.failed() || len(got.start) > maxStart {
			t.Errorf("%q: %+v", body, got)
		}
	})
}

// BenchmarkReadBody reads SaaSquatch's answer to an order of 2 KB, which repeats the order.
func BenchmarkReadBody(b *testing.B) {
	body := []byte(`{"userId":"u","accountId":"u","events":[{"id":"1","key":"purchase","fields":{"products":[` +
		strings.TrimSuffix(strings.Repeat(`{"product_id":"507f1f77bcf86cd799439011","sku":"45790-32",`+
			`"name":"Monopoly","price":19.5,"quantity":1,"category":"Games"},`, 16), ",") + `]}}]}`)
	for name, text := range map[string][]byte{"none": nil, "small": []byte(`{"id":"u","accountId":"u"}`),
		"order": body} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			reader := bytes.NewReader(nil)
			for b.Loop() {
				reader.Reset(text)
				if got := readBody(200, reader); got.failure.stated || got.form == formOther {
					b.Fatal(got)
				}
			}
		})
	}
}
