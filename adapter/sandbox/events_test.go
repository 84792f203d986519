package sandbox_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestTrackEvents(t *testing.T) {
	s := newServer(t, open())
	const body = ` {"userId":"u1","events":[
		{"fields": {"currency":"CAD", "a":[{"b":[1,2]}]} ,"dateTriggered":1538496397475,"key":"purchased","id":"old"},
		{"key":"été"}],
		"accountId":"a1","idempotencyKey":"ec524601-975c-458a-9948-ae4448ce8944","extra":[[1]]} `
	w := send(s, "POST", events, body)
	wantStatus(t, w, 200)
	received := newClock().now.UnixMilli()
	want := fmt.Sprintf(`{"userId":"u1","accountId":"a1","events":[`+
		`{"id":"%08x0000000000000001","key":"purchased","fields":{"currency":"CAD", "a":[{"b":[1,2]}]},`+
		`"dateTriggered":1538496397475,"dateReceived":%[2]d,"dateProcessed":%[2]d},`+
		`{"id":"%08[1]x0000000000000002","key":"été","fields":{},"dateTriggered":%[2]d,"dateReceived":%[2]d,`+
		`"dateProcessed":%[2]d}]}`,
		received/1000, received)
	if got := w.Body.String(); got != want {
		t.Errorf("answer\ngot  %s\nwant %s", got, want)
	}

	all := s.Events()
	if len(all) != 2 {
		t.Fatalf("%d events", len(all))
	}
	first, second := all[0], all[1]
	if first.Seq != 1 || first.TenantAlias != alias || first.AccountID != "a1" || first.UserID != "u1" ||
		first.Key != "purchased" || first.IdempotencyKey != "ec524601-975c-458a-9948-ae4448ce8944" ||
		string(first.Fields) != `{"currency":"CAD", "a":[{"b":[1,2]}]}` ||
		first.DateTriggered == nil || *first.DateTriggered != 1538496397475 || first.DateReceived != received {
		t.Errorf("first event: %+v", first)
	}
	if second.Seq != 2 || second.Key != "été" || second.Fields != nil || second.DateTriggered != nil {
		t.Errorf("second event: %+v", second)
	}
	stats := s.Stats()
	if stats.Requests != 1 || stats.ByStatus[200] != 1 || stats.EventsAccepted != 2 || stats.EventsKept != 2 ||
		stats.RequestsWithKey != 1 || stats.RequestsWithoutKey != 0 || stats.IdempotencyKeys != 1 {
		t.Errorf("stats: %+v", stats)
	}
}

func TestUnknownUser(t *testing.T) {
	options := open()
	options.Users = 0 // the default
	s := newServer(t, options)
	w := send(s, "POST", events, eventBody("key-0001"))
	wantStatus(t, w, 404)
	if e := readError(t, w); *e.APIErrorCode != "USER_NOT_FOUND" || *e.RSCode != "RS042" {
		t.Errorf("%s %s", *e.APIErrorCode, *e.RSCode)
	}
	wantStatus(t, send(s, "PUT", userU1, `{"id":"u1","accountId":"a1"}`), 200)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	// The same user id in another account is another user.
	other := strings.Replace(events, "/a1/", "/a2/", 1)
	wantStatus(t, send(s, "POST", other, strings.Replace(eventBody(""), `"a1"`, `"a2"`, 1)), 404)
}

// fieldsBody is a body whose only event has the key and fields.
func fieldsBody(key, fields string) string {
	return `{"userId":"u1","accountId":"a1","events":[{"key":"` + key + `","fields":` + fields + `}]}`
}

func nested(levels int) string {
	return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
}

func products(n int, product string) string {
	return `{"products":[` + strings.TrimSuffix(strings.Repeat(product+",", n), ",") + `]}`
}

// bodies are bodies of a Track User Event call. The message is a part of the error's; it is empty for a valid body.
var bodies = []struct{ name, body, message, rsCode string }{
	{"minimal", `{"userId":"u1","accountId":"a1","events":[{"key":"k"}]}`, "", ""},
	{"empty", ``, "not valid JSON", ""},
	{"cut off", `{"userId":"u1"`, "not valid JSON", ""},
	{"two values", `{"userId":"u1","accountId":"a1","events":[{"key":"k"}]} {}`, "one JSON value", ""},
	{"text behind", `{"userId":"u1","accountId":"a1","events":[{"key":"k"}]}x`, "not valid JSON", ""},
	{"not UTF-8", "{\"userId\":\"u1\",\"accountId\":\"a1\",\"events\":[{\"key\":\"\xff\"}]}", "not valid JSON", ""},
	{"lone surrogate", `{"userId":"u1","accountId":"a1","events":[{"key":"\ud800"}]}`, "not valid JSON", ""},
	{"name twice", `{"userId":"u1","userId":"u1","accountId":"a1","events":[{"key":"k"}]}`, "twice", ""},
	{"field twice", fieldsBody("k", `{"a":1,"\u0061":2}`), "twice", ""},
	{"array", `[]`, "The body must be a JSON object", ""},
	{"null", `null`, "The body must be a JSON object", ""},
	{"no userId", `{"accountId":"a1","events":[{"key":"k"}]}`, "userId is required", ""},
	{"no accountId", `{"userId":"u1","events":[{"key":"k"}]}`, "accountId is required", ""},
	{"no events", `{"userId":"u1","accountId":"a1"}`, "events is required", ""},
	{"userId number", `{"userId":1,"accountId":"a1","events":[{"key":"k"}]}`, "/userId must be a string", ""},
	{"accountId null", `{"userId":"u1","accountId":null,"events":[{"key":"k"}]}`, "/accountId must be a string", ""},
	{"userId differs", `{"userId":"u2","accountId":"a1","events":[{"key":"k"}]}`,
		"/userId must be the id in the path", ""},
	{"accountId differs", `{"userId":"u1","accountId":"A1","events":[{"key":"k"}]}`,
		"/accountId must be the id in the path", ""},
	{"userId blank", `{"userId":" ","accountId":"a1","events":[{"key":"k"}]}`, "user id must not be blank", "RS043"},
	{"accountId blank", `{"userId":"u1","accountId":"","events":[{"key":"k"}]}`,
		"account id must not be blank", "RS044"},
	{"userId escaped", `{"userId":"\u00751","accountId":"a1","events":[{"key":"k"}]}`, "", ""},
	{"events object", `{"userId":"u1","accountId":"a1","events":{"key":"k"}}`, "/events must be an array", ""},
	{"events empty", `{"userId":"u1","accountId":"a1","events":[]}`, "/events must not be empty", ""},
	{"event string", `{"userId":"u1","accountId":"a1","events":["k"]}`, "/events/0 must be an object", ""},
	{"second event without key", `{"userId":"u1","accountId":"a1","events":[{"key":"k"},{}]}`,
		"/events/1 must have a key", ""},
	{"key number", `{"userId":"u1","accountId":"a1","events":[{"key":1}]}`, "/events/0/key must be a string", ""},
	{"key empty", `{"userId":"u1","accountId":"a1","events":[{"key":""}]}`, "/events/0/key must not be blank", ""},
	{"key blank", `{"userId":"u1","accountId":"a1","events":[{"key":"\t\u00a0"}]}`,
		"/events/0/key must not be blank", ""},

	{"idempotency key of 8", eventBody("a.B-c_1x"), "", ""},
	{"idempotency key of 7", eventBody("1234567"), "/idempotencyKey must have 8 to 64", ""},
	{"idempotency key of 64", eventBody(strings.Repeat("k", 64)), "", ""},
	{"idempotency key of 65", eventBody(strings.Repeat("k", 65)), "/idempotencyKey must have", ""},
	{"idempotency key with colon", eventBody("delete-reg-6543321::job"), "/idempotencyKey must have", ""},
	{"idempotency key not ASCII", eventBody("12345678é"), "/idempotencyKey must have", ""},
	{"idempotency key empty", `{"idempotencyKey":"","userId":"u1","accountId":"a1","events":[{"key":"k"}]}`,
		"/idempotencyKey must have", ""},
	{"idempotency key null", `{"idempotencyKey":null,"userId":"u1","accountId":"a1","events":[{"key":"k"}]}`,
		"/idempotencyKey must be a string", ""},

	{"date with fraction", `{"userId":"u1","accountId":"a1","events":[{"key":"k","dateTriggered":1.5}]}`,
		"/events/0/dateTriggered must be", ""},
	{"date as text",
		`{"userId":"u1","accountId":"a1","events":[{"key":"k","dateTriggered":"2026-01-01T00:00:00Z"}]}`,
		"/events/0/dateTriggered must be", ""},
	{"date null", `{"userId":"u1","accountId":"a1","events":[{"key":"k","dateTriggered":null}]}`,
		"/events/0/dateTriggered must be", ""},
	{"date beyond all", `{"userId":"u1","accountId":"a1","events":[{"key":"k","dateTriggered":1e99}]}`,
		"/events/0/dateTriggered must be", ""},
	{"date with exponent",
		`{"userId":"u1","accountId":"a1","events":[{"key":"k","dateTriggered":1.538496397475E12}]}`,
		"", ""},
	{"date before 1970", `{"userId":"u1","accountId":"a1","events":[{"key":"k","dateTriggered":-1}]}`, "", ""},

	{"fields null", fieldsBody("k", `null`), "/events/0/fields must be an object", ""},
	{"fields array", fieldsBody("k", `[]`), "/events/0/fields must be an object", ""},
	{"fields empty", fieldsBody("k", `{}`), "", ""},
	{"string of 1500 bytes", fieldsBody("k", `{"a":"`+strings.Repeat("é", 750)+`"}`), "", ""},
	{"string of 1501 bytes", fieldsBody("k", `{"a":"`+strings.Repeat("é", 750)+`x"}`),
		"/events/0/fields/a must have at most 1500 bytes", ""},
	{"string of 1500 escapes", fieldsBody("k", `{"a":"`+strings.Repeat(`\u0041`, 1500)+`"}`), "", ""},
	{"string of 1501 escapes", fieldsBody("k", `{"a":"`+strings.Repeat(`\u0041`, 1501)+`"}`), "has 1501", ""},
	{"long string deep inside", fieldsBody("k", `{"a":[{"b":"`+strings.Repeat("x", 1501)+`"}]}`),
		"/events/0/fields/a/0/b must have", ""},
	{"long field name", fieldsBody("k", `{"`+strings.Repeat("x", 1501)+`":1}`), "", ""},
	{"array of arrays", fieldsBody("k", `{"a":[1,[2]]}`), "arrays of arrays", ""},
	{"array in object in array", fieldsBody("k", `{"a":[{"b":[1]}]}`), "", ""},
	{"nesting of 20", fieldsBody("k", `{"a":`+nested(20)+`}`), "", ""},
	{"nesting of 21", fieldsBody("k", `{"a":`+nested(21)+`}`), "nests too deep", ""},
	{"bottomless", fieldsBody("k", strings.Repeat(`{"a":`, 100_000)), "The body is not valid JSON", ""},

	{"purchase, all fields", fieldsBody("purchase", `{
		"checkout_id":"c","order_id":"o","affiliation":"a","subtotal":0,"total":27.5,"revenue":-0.0,"shipping":3,
		"tax":2,"discount":2.5,"coupon":"x","currency":"USD","products":[{
			"product_id":"1","sku":"s","category":"c","name":"n","brand":"b","variant":"v","price":19.99,
			"quantity":1.0,"coupon":"c","position":-3,"url":"u","image_url":"i"
		}]}`), "", ""},
	{"purchase without fields", `{"userId":"u1","accountId":"a1","events":[{"key":"purchase"}]}`, "", ""},
	{"purchase, empty fields", fieldsBody("purchase", `{}`), "", ""},
	{"purchase, other field", fieldsBody("purchase", `{"email":"x"}`),
		"/events/0/fields/email is no field of a purchase", ""},
	{"purchase, fields before key",
		`{"userId":"u1","accountId":"a1","events":[{"fields":{"email":"x"},"key":"purchase"}]}`,
		"/events/0/fields/email is no field", ""},
	{"second event a bad purchase",
		`{"userId":"u1","accountId":"a1","events":[{"key":"k","fields":{"email":"x"}},{"key":"purchase",` +
			`"fields":{"email":"x"}}]}`, "/events/1/fields/email", ""},
	{"Purchase is another event", fieldsBody("Purchase", `{"email":"x"}`), "", ""},
	{"purchase, numeric text", fieldsBody("purchase", `{"revenue":"39.95"}`),
		"/events/0/fields/revenue must be a number", ""},
	{"purchase, negative", fieldsBody("purchase", `{"discount":-0.01}`),
		"/events/0/fields/discount must not be negative", ""},
	{"purchase, null", fieldsBody("purchase", `{"total":null}`), "/events/0/fields/total must be a number", ""},
	{"purchase, numeric order_id", fieldsBody("purchase", `{"order_id":1234}`),
		"/events/0/fields/order_id must be a string", ""},
	{"purchase, 375 characters", fieldsBody("purchase", `{"coupon":"`+strings.Repeat("購", 375)+`"}`), "", ""},
	{"purchase, 376 characters", fieldsBody("purchase", `{"coupon":"`+strings.Repeat("購", 376)+`"}`),
		"must have at most 375 characters", ""},
	{"purchase, currency in lower case", fieldsBody("purchase", `{"currency":"usd"}`), "three capital letters", ""},
	{"purchase, currency of four", fieldsBody("purchase", `{"currency":"USDT"}`), "three capital letters", ""},
	{"purchase, products object", fieldsBody("purchase", `{"products":{}}`),
		"/events/0/fields/products must be an array", ""},
	{"purchase, product string", fieldsBody("purchase", `{"products":["1"]}`),
		"/events/0/fields/products/0 must be an object", ""},
	{"purchase, no product_id", fieldsBody("purchase", `{"products":[{"sku":"s"}]}`),
		"/events/0/fields/products/0 must have a product_id", ""},
	{"purchase, other product field", fieldsBody("purchase", `{"products":[{"product_id":"1","size":"L"}]}`),
		"/products/0/size is no field of a product", ""},
	{"purchase, fractional quantity", fieldsBody("purchase", `{"products":[{"product_id":"1","quantity":1.5}]}`),
		"/quantity must be an integer", ""},
	{"purchase, negative quantity", fieldsBody("purchase", `{"products":[{"product_id":"1","quantity":-1}]}`),
		"/quantity must not be negative", ""},
	{"purchase, quantity as text", fieldsBody("purchase", `{"products":[{"product_id":"1","quantity":"1"}]}`),
		"/quantity must be an integer", ""},
	{"purchase, fractional position", fieldsBody("purchase", `{"products":[{"product_id":"1","position":0.5}]}`),
		"/position must be an integer", ""},
	{"purchase, large exponents",
		fieldsBody("purchase", `{"revenue":1e9999999,"products":[{"product_id":"1","quantity":1e9999999}]}`), "",
		""},
	{"purchase, small negative", fieldsBody("purchase", `{"revenue":-1e-9999999}`),
		"/revenue must not be negative", ""},
	{"purchase, 200 products", fieldsBody("purchase", products(200, `{"product_id":"1"}`)), "", ""},
	{"purchase, 201 products", fieldsBody("purchase", products(201, `{"product_id":"1"}`)),
		"/products must have at most 200", ""},
	{"refund, all fields", fieldsBody("refund", `{"order_id":"o","affiliation":"a","total":1,"revenue":1,"shipping":1,
		"tax":1,"currency":"EUR","products":[]}`), "", ""},
	{"refund, coupon", fieldsBody("refund", `{"coupon":"x"}`),
		"/events/0/fields/coupon is no field of a refund", ""},
	{"refund, subtotal", fieldsBody("refund", `{"subtotal":1}`), "is no field of a refund", ""},
	{"refund, discount", fieldsBody("refund", `{"discount":1}`), "is no field of a refund", ""},
	{"refund, checkout_id", fieldsBody("refund", `{"checkout_id":"1"}`), "is no field of a refund", ""},
}

func TestEventBodies(t *testing.T) {
	for _, test := range bodies {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, open())
			w := send(s, "POST", events, test.body)
			if test.message == "" {
				wantStatus(t, w, 200)
				if !json.Valid(w.Body.Bytes()) {
					t.Errorf("the answer is not valid JSON: %s", w.Body)
				}
				return
			}
			wantBadRequest(t, w, test.rsCode, test.message)
			if stats := s.Stats(); stats.EventsAccepted != 0 || stats.IdempotencyKeys != 0 {
				t.Errorf("a refused request has an effect: %+v", stats)
			}
		})
	}
}

// TestFieldsOfLargeBody checks that fields are kept if the rest of the body is large.
func TestFieldsOfLargeBody(t *testing.T) {
	s := newServer(t, open())
	body := `{"pad":"` + strings.Repeat("x", 10_000) +
		`","userId":"u1","accountId":"a1","events":[{"key":"k","fields":{"a":1}},{"key":"k"},{"key":"k",` +
		`"fields":{"b":[2]}}]}`
	wantStatus(t, send(s, "POST", events, body), 200)
	all := s.Events()
	if len(all) != 3 || string(all[0].Fields) != `{"a":1}` || all[1].Fields != nil ||
		string(all[2].Fields) != `{"b":[2]}` {
		t.Errorf("events: %+v", all)
	}
}

func TestBlankIDsInPath(t *testing.T) {
	s := newServer(t, open())
	for _, test := range []struct{ path, body, rsCode string }{
		{strings.Replace(events, "/u1/", "/%20/", 1),
			`{"userId":" ","accountId":"a1","events":[{"key":"k"}]}`, "RS043"},
		{strings.Replace(events, "/a1/", "//", 1), `{"userId":"u1","accountId":"","events":[{"key":"k"}]}`, "RS044"},
	} {
		w := send(s, "POST", test.path, test.body)
		wantStatus(t, w, 400)
		if e := readError(t, w); *e.RSCode != test.rsCode {
			t.Errorf("rsCode %q, want %q", *e.RSCode, test.rsCode)
		}
	}
}

func TestMaxEventsBoundsEventsOnly(t *testing.T) {
	options := open()
	options.MaxEvents = 3
	s := newServer(t, options)
	const sent = 3000
	for i := range sent {
		wantStatus(t, send(s, "POST", events, eventBody(fmt.Sprintf("key-%06d", i))), 200)
	}
	all := s.Events()
	if len(all) != 3 || all[0].Seq != sent-2 || all[2].Seq != sent {
		t.Errorf("kept %d events: %+v", len(all), all)
	}
	stats := s.Stats()
	if stats.EventsAccepted != sent || stats.EventsKept != 3 || stats.IdempotencyKeys != sent {
		t.Errorf("stats: %+v", stats)
	}
	wantStatus(t, send(s, "POST", events, eventBody("key-000000")), 409)
}
