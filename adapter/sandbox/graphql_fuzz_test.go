package sandbox_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"segment-saasquatch/adapter/sandbox"
)

// FuzzGraphQLEvent compares the verdict on an event by GraphQL with that by REST.
func FuzzGraphQLEvent(f *testing.F) {
	for _, fields := range []string{`{}`, `{"a":[1,{"b":"c"}]}`, `{"a":[[1]]}`, `[]`, `null`, `{`, `{"a":1,"a":2}`,
		`{"revenue":"1"}`, `{"fields":{"customFields":[1.50, 12345678901234567890 ]}}`,
		`{"a":"` + strings.Repeat("x", 1501) + `"}`, strings.Repeat(`{"a":`, 22) + "1" + strings.Repeat("}", 22)} {
		f.Add("key-0001", "purchase", fields)
		f.Add("short", "signedUp", fields)
	}
	rest, graphQL := newServer(f, open()), newServer(f, open())
	f.Fuzz(func(t *testing.T, key, eventKey, fields string) {
		if !utf8.ValidString(key+eventKey) || strings.TrimSpace(fields) == "null" {
			return // by REST, fields of null are refused
		}
		rest.Reset()
		graphQL.Reset()
		input := `{"userId":"u1","accountId":"a1","idempotencyKey":` + quote(key) + `,"events":[{"key":` +
			quote(eventKey) + `,"fields":` + fields + `}]}`
		w := send(rest, "POST", events, input)
		want := item{UserID: "u1", StatusCode: w.Code}
		if w.Code != 200 {
			want.Message = *readError(t, w).Message
		}

		w = send(graphQL, "POST", graphQLPath, `{"query":`+quote(logEvents)+`,"variables":{"in":[`+input+`]}}`)
		if w.Code == 400 && want.StatusCode == 400 {
			return // the whole body is not valid JSON
		}
		wantStatus(t, w, 200)
		var answer struct {
			Data struct{ LogUserEvents []item }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Data.LogUserEvents) != 1 {
			t.Fatalf("%v: %s", err, w.Body)
		}
		got := answer.Data.LogUserEvents[0]
		if got.TypeName == "UserEventResult" {
			got.StatusCode = 200
		}
		if got.StatusCode != want.StatusCode || got.Message != want.Message {
			t.Fatalf("by GraphQL %d %q, by REST %d %q", got.StatusCode, got.Message, want.StatusCode, want.Message)
		}
		a, b := rest.Events(), graphQL.Events()
		if len(a) != len(b) || len(a) == 1 && string(a[0].Fields) != string(b[0].Fields) {
			t.Fatalf("by GraphQL %+v, by REST %+v", b, a)
		}
	})
}

// FuzzQuery checks that every query gets an answer in JSON.
func FuzzQuery(f *testing.F) {
	for _, text := range []string{`{tenant{tenantAlias}}`, `{user(id:"u",accountId:"a"){id}}`, `{`, `"`, `"""`,
		`"""\"""`, `"\`, `# 99999999999`, `{userEventKeys(limit:99999999999){data}}`,
		`{userEventKeys(limit:-2147483648){data}}`,
		`mutation{logUserEvents(userEventInputs:[{userId:"u",accountId:"a",events:[{key:"k",` +
			`dateTriggered:1538496397475,fields:{a:1e3,b:"\u00e4",c:"""x""",d:[1,2.5,99999999999],e:null,` +
			`f:true}}]}]){__typename}}`,
		`mutation{upsertUsers(userInputs:[{id:"u",accountId:"a",customFields:{a:1}}]){... on User{customFields}}}`} {
		f.Add(text)
	}
	s := newServer(f, withFaults(sandbox.Faults{BulkItems: true, Fail: []sandbox.FailRule{{Rate: 0.1, Status: 503}},
		Lists: []sandbox.ListRule{{Rate: 0.5, Change: sandbox.Shuffled}}}))
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || text == "" {
			return
		}
		w := send(s, "POST", graphQLPath, `{"query":`+quote(text)+`}`)
		if w.Code != 200 && w.Code != 503 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}
