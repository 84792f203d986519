package sandbox_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter/sandbox"
)

const (
	logEvents = `mutation($in: [UserEventInput!]!) { logUserEvents(userEventInputs: $in) { __typename
		... on UserEventResult { userId accountId events { id key } }
		... on ApiError { message statusCode rsCode } } }`
	logEvent     = `mutation($in: UserEventInput!) { logUserEvent(userEventInput: $in) { userId events { id } } }`
	previewEvent = `query($in: UserEventInput!) { previewUserEvent(userEventInput: $in) { userId events { id } } }`
)

// item is an element of the list that a bulk mutation answers.
type item struct {
	TypeName          string `json:"__typename"`
	UserID, AccountID string // of an event
	ID                string // of a user
	Events            []struct{ ID, Key string }
	Message           string
	StatusCode        int
	RSCode            *string
}

// String is a short form of the item, such as "u1" or "404 RS042".
func (i item) String() string {
	switch {
	case i.TypeName == "User":
		return i.ID
	case i.TypeName == "UserEventResult":
		return i.UserID
	case i.RSCode == nil:
		return fmt.Sprint(i.StatusCode)
	}
	return fmt.Sprint(i.StatusCode, " ", *i.RSCode)
}

// eventOf returns a UserEventInput; an empty key stands for none.
func eventOf(userID, key string) map[string]any {
	in := map[string]any{"userId": userID, "accountId": "a1", "events": []any{map[string]any{
		"key": "signedUp", "fields": map[string]any{"plan": "pro"}, "dateTriggered": 1538496397475}}}
	if key != "" {
		in["idempotencyKey"] = key
	}
	return in
}

// bulk sends inputs and returns the only list of the answer, in short form.
func bulk(t testing.TB, s *sandbox.Server, text string, inputs ...map[string]any) []string {
	t.Helper()
	var data map[string][]item
	ask(t, s, text, map[string]any{"in": append([]map[string]any{}, inputs...)}, &data)
	var short []string
	for _, list := range data {
		for _, i := range list {
			short = append(short, i.String())
		}
	}
	return short
}

func wantItems(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func known() sandbox.Options {
	options := open()
	options.Users = sandbox.KnownUsers
	return options
}

// with returns a copy of an input with another member.
func with(in map[string]any, name string, value any) map[string]any {
	in[name] = value
	return in
}

// TestLogUserEvents judges each input on its own, at its place.
func TestLogUserEvents(t *testing.T) {
	s := newServer(t, known())
	wantStatus(t, send(s, "PUT", userU1, `{"id":"u1","accountId":"a1"}`), 200)
	s.DoNotTrack("a1", "gone")
	wantStatus(t, send(s, "POST", events, eventBody("key-rest")), 200)
	purchase := map[string]any{"key": "purchase", "fields": map[string]any{"revenue": "1"}}
	wantItems(t, bulk(t, s, logEvents,
		eventOf("u1", "key-0001"),
		eventOf("unknown", "key-0002"),
		eventOf("u1", "key-0001"),
		eventOf("u1", "key-rest"),
		eventOf("u1", "short"),
		eventOf("u1", ""),
		eventOf(" ", ""),
		with(eventOf("u1", ""), "accountId", ""),
		with(eventOf("u1", ""), "events", nil),
		with(eventOf("u1", ""), "events", []any{}),
		with(eventOf("u1", ""), "events", []any{purchase}),
		with(eventOf("u1", ""), "events", []any{map[string]any{"key": ""}}),
		with(eventOf("u1", ""), "events", []any{map[string]any{"key": "k", "dateTriggered": 1.5}}),
		with(eventOf("u1", ""), "events", []any{map[string]any{"key": "k", "fields": "none"}}),
		with(eventOf("u1", ""), "events", []any{map[string]any{"key": "k", "fields": nil, "dateTriggered": nil}}),
		eventOf("gone", "key-0003"),
	), "u1", "404 RS042", "409 IDEMPOTENCY_KEY_CONFLICT", "409 IDEMPOTENCY_KEY_CONFLICT", "400", "u1", "400 RS043",
		"400 RS044", "400", "400", "400", "400", "400", "400", "u1", "400 RS050")
	stats := s.Stats()
	if stats.EventsAccepted != 4 || stats.RequestsWithKey != 2 || stats.RequestsWithoutKey != 2 ||
		stats.Conflicts != 2 || stats.IdempotencyKeys != 2 || stats.BulkCalls != 1 {
		t.Errorf("stats: %+v", stats)
	}
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 409)
	wantStatus(t, send(s, "POST", strings.Replace(events, "u1", "unknown", 1),
		strings.Replace(eventBody("key-0002"), "u1", "unknown", 1)), 404)
	wantItems(t, bulk(t, s, logEvents))
}

// TestLoggedEventsAreKept compares an event by GraphQL with one by REST.
func TestLoggedEventsAreKept(t *testing.T) {
	s := newServer(t, open())
	const fields = `{"b": [1, 2.50, "\u00e4"],"a":{"fields": {"x": 12345678901234567890}} }`
	wantStatus(t, send(s, "POST", events, `{"userId":"u1","accountId":"a1","idempotencyKey":"key-0001",`+
		`"events":[{"key":"k","fields":`+fields+`,"dateTriggered":1538496397475},{"key":"l"}]}`), 200)
	w := send(s, "POST", graphQLPath, `{"query":`+quote(`mutation($x: [UserEventInput!]!) { e: logUserEvents(
		userEventInputs: $x) { ... on UserEventResult { userId accountId user { id } programTransactions { id }
		events { id userId accountId key fields dateTriggered dateReceived dateProcessed } } } }`)+
		`,"variables":{"x":[{"userId":"u1","accountId":"a1","idempotencyKey":"key-0002",`+
		`"events":[{"key":"k","fields":`+fields+`,"dateTriggered":1538496397475},{"id":"ignored","key":"l"}]}]}}`)
	wantStatus(t, w, 200)
	all := s.Events()
	if len(all) != 4 {
		t.Fatalf("events: %+v", all)
	}
	for i := range 2 {
		rest, graphQL := all[i], all[i+2]
		graphQL.Seq, graphQL.IdempotencyKey = rest.Seq, rest.IdempotencyKey
		a, _ := json.Marshal(rest)
		b, _ := json.Marshal(graphQL)
		if string(a) != string(b) || string(rest.Fields) != string(graphQL.Fields) {
			t.Errorf("REST    %s\nGraphQL %s", a, b)
		}
	}
	compact := strings.ReplaceAll(fields, " ", "")
	const dates = `"dateTriggered":%s,"dateReceived":1772366400000,"dateProcessed":1772366400000`
	want := `{"data":{"e":[{"userId":"u1","accountId":"a1","user":null,"programTransactions":[],"events":[` +
		`{"id":"69a42a400000000000000003","userId":"u1","accountId":"a1","key":"k","fields":` + compact + `,` +
		fmt.Sprintf(dates, "1538496397475") +
		`},{"id":"69a42a400000000000000004","userId":"u1","accountId":"a1","key":"l","fields":{},` +
		fmt.Sprintf(dates, "1772366400000") + `}]}]}}`
	if got := w.Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// TestFormsOfAnInput sends the same input in the forms that GraphQL allows.
func TestFormsOfAnInput(t *testing.T) {
	const one = `{"userId":"u1","accountId":"a1","events":[{"key":"k","fields":{"a":[1,{"b":"c"}]},` +
		`"dateTriggered":1538496397475}]}`
	for _, test := range []struct{ query, variables string }{
		{`mutation M($logUserEvents: [UserEventInput!]!) { x: logUserEvents(userEventInputs: $logUserEvents)
			{ __typename } }`, `{"logUserEvents":[` + one + `]}`},
		{`mutation($in: [UserEventInput!]!) { logUserEvents(userEventInputs: $in) { __typename } }`,
			`{"in":` + one + `}`}, // GraphQL reads a single value as a list
		{`mutation($i: UserEventInput!) { logUserEvents(userEventInputs: [$i]) { __typename } }`, `{"i":` + one + `}`},
		{`mutation($fields: RSJsonNode, $d: RSDate) { logUserEvents(userEventInputs: {userId: "u1", accountId: "a1",
			events: [{key: "k", fields: $fields, dateTriggered: $d}]}) { __typename } }`,
			`{"fields":{"a":[1,{"b":"c"}]},"d":1538496397475}`},
		{`mutation($c: String) { logUserEvents(userEventInputs: [{userId: "u1", accountId: "a1", events: [{
			key: "k", # a date of 13 digits
			fields: {a: [1, {b: $c}]}, dateTriggered: 1538496397475}]}]) { __typename } }`, `{"c":"c"}`},
		{`mutation { logUserEvent(userEventInput: {userId: "u1", accountId: "a1", events: {key: "k",
			fields: {a: [1, {b: "c"}]}, dateTriggered: 1538496397475}}) { userId } }`, `null`},
		{`mutation($e: [UserEventDataInput!] = [{key: "k", fields: {a: [1, {b: "c"}]}, dateTriggered: 1538496397475}])
			{ logUserEvent(userEventInput: {userId: "u1", accountId: "a1", events: $e}) { userId } }`, `{}`},
	} {
		s := newServer(t, open())
		w := send(s, "POST", graphQLPath, `{"query":`+quote(test.query)+`,"variables":`+test.variables+
			`,"operationName":null,"extensions":{}}`)
		wantStatus(t, w, 200)
		all := s.Events()
		if strings.Contains(w.Body.String(), `"errors"`) || len(all) != 1 {
			t.Errorf("%s\n%s\n%s", test.query, test.variables, w.Body)
			continue
		}
		if e := all[0]; e.UserID != "u1" || string(e.Fields) != `{"a":[1,{"b":"c"}]}` ||
			e.DateTriggered == nil || *e.DateTriggered != 1538496397475 {
			t.Errorf("%s\n%+v", test.query, e)
		}
	}
}

// TestNumbersInAQuery checks numbers outside of variables.
func TestNumbersInAQuery(t *testing.T) {
	s := newServer(t, open())
	ask(t, s, `mutation { logUserEvent(userEventInput: {userId: "1538496397475", accountId: """a 1538496397475""",
		events: [{key: "k \"1538496397475", dateTriggered: -1538496397475,
		fields: {a1538496397475: [2147483647, 2147483648, -2147483648, -2147483649, 1.5, 1e3, -2.5E+3, 0]}}]})
		{ userId } } # 1538496397475`, nil, &struct{}{})
	e := s.Events()[0]
	want := `{"a1538496397475":[2147483647,2147483648,-2147483648,-2147483649,1.5,1000,-2500,0]}`
	if string(e.Fields) != want || e.UserID != "1538496397475" || e.Key != `k "1538496397475` ||
		*e.DateTriggered != -1538496397475 {
		t.Errorf("event: %+v\nfields %s\nwant   %s", e, e.Fields, want)
	}
}

// TestWrongTypesFailTheCall checks that GraphQL refuses a value of a wrong type for the whole call.
func TestWrongTypesFailTheCall(t *testing.T) {
	s := newServer(t, open())
	for name, in := range map[string]any{
		"user id of a number": with(eventOf("u1", ""), "userId", 5),
		"no user id":          with(eventOf("u1", ""), "userId", nil),
		"unknown member":      with(eventOf("u1", ""), "colour", "red"),
		"date in text": with(eventOf("u1", ""), "events", []any{map[string]any{"key": "k",
			"dateTriggered": "2018-10-02T16:06:37Z"}}),
		"event without a key": with(eventOf("u1", ""), "events", []any{map[string]any{}}),
		"null":                nil,
	} {
		answer := query(t, s, logEvents, map[string]any{"in": []any{eventOf("u1", ""), in}})
		if len(answer.Errors) == 0 || answer.Errors[0].Extensions.APIError != nil {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	if n := s.Stats().EventsAccepted; n != 0 {
		t.Errorf("%d events accepted", n)
	}
}

func TestLogUserEvent(t *testing.T) {
	s := newServer(t, known())
	wantStatus(t, send(s, "PUT", userU1, `{"id":"u1","accountId":"a1"}`), 200)
	for _, test := range []struct {
		in     map[string]any
		status int
		code   string
	}{
		{eventOf("u1", "key-0001"), 200, ""},
		{eventOf("u1", "key-0001"), 409, "IDEMPOTENCY_KEY_CONFLICT"},
		{eventOf("unknown", ""), 404, "USER_NOT_FOUND"},
		{eventOf("u1", "short"), 400, "BAD_REQUEST"},
	} {
		for _, text := range []string{previewEvent, logEvent} {
			status := test.status
			before := fmt.Sprint(s.Stats())
			answer := query(t, s, text, map[string]any{"in": test.in})
			if text == previewEvent {
				after := s.Stats()
				after.Requests--
				after.ByStatus[200]--
				if got := fmt.Sprint(after); got != before {
					t.Errorf("the preview has an effect: %s\nbefore: %s", got, before)
				}
			}
			if status == 200 {
				if len(answer.Errors) > 0 {
					t.Errorf("errors: %+v", answer.Errors)
				}
				continue
			}
			if answer.Data != nil || len(answer.Errors) != 1 {
				t.Fatalf("answer: %+v", answer)
			}
			e := answer.Errors[0].Extensions.APIError
			if e == nil || e.StatusCode != status || e.APIErrorCode != test.code {
				t.Errorf("apiError %+v, want %d %s", e, status, test.code)
			}
		}
	}
}

// TestBulkLimits refuses a call as a whole.
func TestBulkLimits(t *testing.T) {
	inputs := make([]map[string]any, 101)
	users := make([]map[string]any, 101)
	for i := range inputs {
		inputs[i] = eventOf("u1", fmt.Sprintf("key-%04d", i))
		users[i] = map[string]any{"id": fmt.Sprint("u", i), "accountId": "a1"}
	}
	for _, test := range []struct{ limit, allowed int }{{0, 100}, {3, 3}} {
		options := open()
		options.BulkLimit, options.BurnKeys = test.limit, true
		s := newServer(t, options)
		for text, inputs := range map[string][]map[string]any{logEvents: inputs, upsertAll: users} {
			answer := query(t, s, text, map[string]any{"in": inputs[:test.allowed+1]})
			if len(answer.Errors) != 1 || answer.Data != nil || answer.Errors[0].Extensions.APIError == nil ||
				answer.Errors[0].Extensions.APIError.StatusCode != 400 {
				t.Fatalf("limit %d: %+v", test.limit, answer)
			}
			if stats := s.Stats(); stats.EventsAccepted+stats.UserUpserts != 0 || stats.IdempotencyKeys != 0 {
				t.Errorf("limit %d: %+v", test.limit, stats)
			}
		}
		if got := len(bulk(t, s, logEvents, inputs[:test.allowed]...)); got != test.allowed {
			t.Errorf("%d items, want %d", got, test.allowed)
		}
	}
	options := open()
	options.BulkBytes = 1000
	s := newServer(t, options)
	body, _ := json.Marshal(map[string]any{"query": logEvents, "variables": map[string]any{"in": inputs[:10]}})
	wantStatus(t, send(s, "POST", graphQLPath, string(body)), 413)
	wantItems(t, bulk(t, s, logEvents, inputs[:2]...), "u1", "u1")
	// The limit is that of calls for several inputs.
	wantStatus(t, send(s, "POST", events, strings.Replace(eventBody(""), "pro", strings.Repeat("x", 1200), 1)), 200)
	ask(t, s, logEvent, map[string]any{"in": with(eventOf("u1", ""), "events", []any{map[string]any{"key": "k",
		"fields": map[string]any{"x": strings.Repeat("x", 1200)}}})}, &struct{}{})
}

// TestMutationsInOrder runs the mutations of a document one after another.
func TestMutationsInOrder(t *testing.T) {
	s := newServer(t, known())
	var data struct {
		A, C, D []item
		B       struct{ UserID string }
	}
	ask(t, s, `mutation($e: UserEventInput!, $u: UserInput!) {
		a: logUserEvents(userEventInputs: [$e]) { ...f }
		u: upsertUser(userInput: $u) { id }
		b: logUserEvent(userEventInput: $e) { userId user { id } }
		c: logUserEvents(userEventInputs: [$e, $e]) { ...f }
		d: upsertUsers(userInputs: [$u]) { ... on User { id } __typename }
	}
	fragment f on BulkUserEventResult { __typename ... on UserEventResult { userId } ... on ApiError { statusCode } }`,
		map[string]any{"e": eventOf("u1", "key-0001"), "u": map[string]any{"id": "u1", "accountId": "a1"}}, &data)
	if data.B.UserID != "u1" || s.Stats().EventsAccepted != 1 || s.Stats().BulkCalls != 3 {
		t.Errorf("data: %+v, stats: %+v", data, s.Stats())
	}
	wantItems(t, []string{data.A[0].String(), data.C[0].String(), data.C[1].String(), data.D[0].String()},
		"404", "409", "409", "u1")
}

// TestFieldsAsAVariable checks that a variable with members of any name is the same JSON in the log.
func TestFieldsAsAVariable(t *testing.T) {
	s := newServer(t, open())
	ask(t, s, `mutation($fields: RSJsonNode) { logUserEvent(userEventInput: {userId: "u1", accountId: "a1",
		events: [{key: "k", fields: $fields}]}) { userId } }`, map[string]any{"fields": map[string]any{
		"fields": map[string]any{"customFields": []any{1.5, "<x>", nil}}, "variables": true}}, &struct{}{})
	var got map[string]any
	if err := json.Unmarshal(s.Events()[0].Fields, &got); err != nil || len(got) != 2 || fmt.Sprint(got) !=
		"map[fields:map[customFields:[1.5 <x> <nil>]] variables:true]" {
		t.Errorf("fields: %v, %v", got, err)
	}
}
