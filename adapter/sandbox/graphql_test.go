package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"segment-saasquatch/adapter/sandbox"
)

const graphQLPath = "/api/v1/" + alias + "/graphql"

// graphQLAnswer is an answer of the GraphQL endpoint.
type graphQLAnswer struct {
	Data   map[string]json.RawMessage
	Errors []struct {
		Message    string
		Extensions struct {
			APIError *struct {
				Message      string
				StatusCode   int
				APIErrorCode string
				RSCode       *string
			}
			Classification string
		}
	}
}

// query sends a GraphQL request, which must get a 200.
func query(t testing.TB, s http.Handler, text string, variables map[string]any) graphQLAnswer {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": text, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	w := send(s, "POST", graphQLPath, string(body))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	var answer graphQLAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return answer
}

// ask is query without errors.
func ask(t testing.TB, s http.Handler, text string, variables map[string]any, into any) {
	t.Helper()
	answer := query(t, s, text, variables)
	if len(answer.Errors) > 0 {
		t.Fatalf("errors: %+v", answer.Errors)
	}
	data, err := json.Marshal(answer.Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
}

func TestGraphQLRefusals(t *testing.T) {
	s := newServer(t, open())
	other := strings.Replace(graphQLPath, alias, "other", 1)
	for _, test := range []struct {
		name, path, body string
		prepare          func(*http.Request)
		status           int
		code             string
	}{
		{"unknown tenant", other, `{"query":"{tenant{tenantAlias}}"}`, nil, 404, "TENANT_NOT_FOUND"},
		{"wrong key", graphQLPath, `{"query":"{tenant{tenantAlias}}"}`,
			func(r *http.Request) { r.SetBasicAuth("", "x") }, 401, "UNAUTHORIZED"},
		{"content type", graphQLPath, `{"query":"{tenant{tenantAlias}}"}`,
			func(r *http.Request) { r.Header.Set("Content-Type", "application/graphql") }, 415,
			"UNSUPPORTED_MEDIA_TYPE"},
		{"no JSON", graphQLPath, `{tenant{tenantAlias}}`, nil, 400, "BAD_REQUEST"},
		{"no query", graphQLPath, `{}`, nil, 400, "BAD_REQUEST"},
		{"variables in a list", graphQLPath, `{"query":"{tenant{tenantAlias}}","variables":[]}`, nil, 400,
			"BAD_REQUEST"},
		{"query twice", graphQLPath, `{"query":"{tenant{tenantAlias}}","query":"{tenant{tenantAlias}}"}`, nil, 400,
			"BAD_REQUEST"},
		{"too large", graphQLPath, `{"query":"` + strings.Repeat(" ", 1<<20) + `"}`, nil, 413, "PAYLOAD_TOO_LARGE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRequest("POST", test.path, test.body)
			if test.prepare != nil {
				test.prepare(r)
			}
			w := do(s, r)
			wantStatus(t, w, test.status)
			if e := readError(t, w); *e.APIErrorCode != test.code {
				t.Errorf("%s, want %s", *e.APIErrorCode, test.code)
			}
		})
	}
}

// TestGraphQLErrors checks that errors of an operation get a 200.
func TestGraphQLErrors(t *testing.T) {
	s := newServer(t, open())
	const create = `mutation($i: JobInput!) { createJob(jobInput: $i) { id } }`
	input := func(members map[string]any) map[string]any { return map[string]any{"i": members} }
	for _, test := range []struct {
		name, query    string
		variables      map[string]any
		classification string
		status         int // of the apiError, 0 for none
	}{
		{"syntax", `{`, nil, "InvalidSyntax", 0},
		{"no operation", ` `, nil, "ValidationError", 0},
		{"unknown field", `{nothing}`, nil, "ValidationError", 0},
		{"query as a mutation", `mutation{validateJobCreation(jobInput:{type:"MUTATION/USER"}){errors}}`, nil,
			"ValidationError", 0},
		{"too deep", strings.Repeat(`{__schema{types`, 15) + strings.Repeat(`}`, 30), nil, "ValidationError", 0},
		{"too long", `{tenant{tenantAlias}}` + strings.Repeat(" ", 70_000), nil, "ValidationError", 0},
		{"two operations", `query a{tenant{tenantAlias}} query b{tenant{tenantAlias}}`, nil, "ValidationError", 0},
		{"missing variable", create, nil, "ValidationError", 0},
		{"input without type", create, input(map[string]any{"fileRef": "x"}), "ValidationError", 0},
		{"input with unknown member", create, input(map[string]any{"type": "MUTATION/USER", "colour": "red"}),
			"ValidationError", 0},
		{"format in small letters", create, input(map[string]any{"type": "MUTATION/USER", "outputFormat": "csv"}),
			"ValidationError", 0},
		{"type of a number", create, input(map[string]any{"type": 5}), "ValidationError", 0},
		{"name of a number", create, input(map[string]any{"type": "MUTATION/USER", "name": 5}),
			"ValidationError", 0},
		{"unknown job", `{job(id:"unknown"){id}}`, nil, "DataFetchingException", 404},
		{"unknown file", create, input(map[string]any{"type": "MUTATION/USER", "fileRef": "x"}),
			"DataFetchingException", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := query(t, s, test.query, test.variables)
			if len(answer.Errors) == 0 {
				t.Fatalf("no error: %s", answer.Data)
			}
			e := answer.Errors[0]
			if e.Message == "" || e.Extensions.Classification != test.classification {
				t.Errorf("%q of class %q, want %q", e.Message, e.Extensions.Classification, test.classification)
			}
			if (e.Extensions.APIError != nil) != (test.status != 0) {
				t.Fatalf("apiError: %+v", e.Extensions.APIError)
			}
			if a := e.Extensions.APIError; a != nil && (a.StatusCode != test.status || a.Message != e.Message ||
				a.APIErrorCode == "" || a.RSCode == nil) {
				t.Errorf("apiError: %+v", a)
			}
		})
	}
}

func TestTenantQuery(t *testing.T) {
	for name, live := range map[string]bool{"test_abc": false, "abc": true, "atest_abc": true} {
		options := open()
		options.Tenants = nil
		s := newServer(t, options)
		w := send(s, "POST", "/api/v1/"+name+"/graphql",
			`{"query":"{tenant{tenantAlias isLiveMode rateLimitMultiplier}}"}`)
		wantStatus(t, w, 200)
		want := fmt.Sprintf(`{"data":{"tenant":{"tenantAlias":%q,"isLiveMode":%v,"rateLimitMultiplier":1}}}`, name,
			live)
		if got := w.Body.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestNamesInUse(t *testing.T) {
	options := open()
	options.MaxEvents = 1 // names outlive events
	s := newServer(t, options)
	for _, key := range []string{"b", "a", "b", "c"} {
		if status := sendAs(s, "u1", key, "key-of-"+key+fmt.Sprint(s.Stats().EventsAccepted)); status != 200 {
			t.Fatal(status)
		}
	}
	wantStatus(t, send(s, "PUT", userU1,
		`{"id":"u1","accountId":"a1","customFields":{"plan":"pro","age":null,"size":3},"segments":["vip","old"]}`),
		200)
	wantStatus(t, send(s, "PUT", userU1, `{"id":"u1","accountId":"a1","segments":["~old"]}`), 200)
	const all = `{
		userEventKeys{data count totalCount}
		customFields{data{key name} count totalCount}
		segments{data{key name status participantsCount} count totalCount}
	}`
	for _, test := range []struct{ query, want string }{
		{all, `{"userEventKeys":{"data":["a","b","c"],"count":3,"totalCount":3},` +
			`"customFields":{"data":[{"key":"plan","name":null},{"key":"size","name":null}],"count":2,` +
			`"totalCount":2},` +
			`"segments":{"data":[{"key":"vip","name":null,"status":"ACTIVE","participantsCount":1}],"count":1,` +
			`"totalCount":1}}`},
		{`{userEventKeys(limit:2,offset:1){data count totalCount}}`,
			`{"userEventKeys":{"data":["b","c"],"count":2,"totalCount":3}}`},
		{`{userEventKeys(limit:2,offset:2){data count totalCount}}`,
			`{"userEventKeys":{"data":["c"],"count":1,"totalCount":3}}`},
		{`{userEventKeys(offset:9){data count totalCount}}`,
			`{"userEventKeys":{"data":[],"count":0,"totalCount":3}}`},
		{`{userEventKeys(limit:0){data count totalCount}}`,
			`{"userEventKeys":{"data":[],"count":0,"totalCount":3}}`},
		{`{customFields(limit:1,offset:1){data{key} count}}`,
			`{"customFields":{"data":[{"key":"size"}],"count":1}}`},
		{`{segments(offset:1){data{key} totalCount}}`, `{"segments":{"data":[],"totalCount":1}}`},
	} {
		w := send(s, "POST", graphQLPath, fmt.Sprintf(`{"query":%q}`, test.query))
		wantStatus(t, w, 200)
		if got, want := w.Body.String(), `{"data":`+test.want+`}`; got != want {
			t.Errorf("%s\n got %s\nwant %s", test.query, got, want)
		}
	}
	for _, wrong := range []string{"limit:-1", "limit:1001", "offset:-1"} {
		for _, list := range []string{"userEventKeys", "customFields", "segments"} {
			answer := query(t, s, fmt.Sprintf(`{%s(%s){count}}`, list, wrong), nil)
			if len(answer.Errors) != 1 || answer.Errors[0].Extensions.APIError == nil ||
				answer.Errors[0].Extensions.APIError.StatusCode != 400 {
				t.Errorf("%s(%s): %+v", list, wrong, answer)
			}
		}
	}
	s.Reset()
	var counts map[string]struct{ Count int }
	ask(t, s, `{userEventKeys{count} customFields{count} segments{count}}`, nil, &counts)
	for list, of := range counts {
		if of.Count != 0 {
			t.Errorf("after the reset %d %s", of.Count, list)
		}
	}
}

func TestFaultsStrikeGraphQL(t *testing.T) {
	s := newServer(t, withFaults(sandbox.Faults{Fail: []sandbox.FailRule{{Rate: 1, Status: 503}}}))
	wantStatus(t, send(s, "POST", graphQLPath, `{"query":"{tenant{tenantAlias}}"}`), 503)
}
