package sandbox_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter/sandbox"
)

const (
	createJob = `mutation($i: JobInput!) { createJob(jobInput: $i) {
		id type requester dateCreated status stats{recordsProcessed}
	} }`
	pollJob = `query($id: ID!) { job(id: $id) { id type name requester status dateCreated dateCompleted dateExpires
		stats{recordsProcessed errors} downloadUrl(publicLink:false) publicUrl: downloadUrl(publicLink:true)
		downloadErrorUrl downloadFileRefUrl } }`
)

// job is the answer to pollJob.
type job struct {
	ID                 string
	Type               string
	Name, Requester    *string
	Status             string
	DateCreated        int64
	DateCompleted      *int64
	DateExpires        *int64
	Stats              struct{ RecordsProcessed, Errors int }
	DownloadURL        *string
	PublicURL          *string
	DownloadErrorURL   *string
	DownloadFileRefURL *string
}

func eventsOf(ref string) map[string]any {
	return map[string]any{"i": map[string]any{"type": "MUTATION/USER_EVENT", "fileRef": ref,
		"outputFormat": "JSONL"}}
}

func usersOf(ref string, params map[string]any) map[string]any {
	input := map[string]any{"type": "MUTATION/USER", "fileRef": ref, "outputFormat": "JSONL"}
	if params != nil {
		input["params"] = params
	}
	return map[string]any{"i": input}
}

// create creates a job, which must be pending, and returns its id.
func create(t testing.TB, s http.Handler, variables map[string]any) string {
	t.Helper()
	var got struct{ CreateJob job }
	ask(t, s, createJob, variables, &got)
	if got.CreateJob.Status != "PENDING" || got.CreateJob.Stats.RecordsProcessed != 0 || got.CreateJob.ID == "" {
		t.Fatalf("created job: %+v", got.CreateJob)
	}
	return got.CreateJob.ID
}

func poll(t testing.TB, s http.Handler, id string) job {
	t.Helper()
	var got struct{ Job job }
	ask(t, s, pollJob, map[string]any{"id": id}, &got)
	return got.Job
}

// fetch downloads a file with the API key.
func fetch(h http.Handler, link string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", link, nil)
	r.SetBasicAuth("", apiKey)
	return do(h, r)
}

func eventLine(userID, key string) string {
	line := fmt.Sprintf(`{"userId":%q,"accountId":"a1",`, userID)
	if key != "" {
		line += fmt.Sprintf(`"idempotencyKey":%q,`, key)
	}
	return line + `"event":{"key":"signedUp","dateTriggered":1538496397475,"fields":{"plan":"pro"}}}` + "\n"
}

// recordError is a line of an error file.
type recordError struct {
	RecordNumber int
	Message      string
	APIErrorCode string
	StatusCode   int
}

// readLines decodes a file of JSONL.
func readLines[T any](t testing.TB, w *httptest.ResponseRecorder) []T {
	t.Helper()
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("status %d, content type %q: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	all := []T{}
	for scanner := bufio.NewScanner(w.Body); scanner.Scan(); {
		var one T
		if err := json.Unmarshal(scanner.Bytes(), &one); err != nil {
			t.Fatalf("%v: %s", err, scanner.Bytes())
		}
		all = append(all, one)
	}
	return all
}

func TestImportEvents(t *testing.T) {
	options := open()
	options.Users = sandbox.KnownUsers
	s := newServer(t, options)
	wantStatus(t, send(s, "PUT", userU1, `{"id":"u1","accountId":"a1"}`), 200)
	wantStatus(t, send(s, "POST", events, eventBody("key-live")), 200)
	file := eventLine("u1", "key-0001") + // 1
		eventLine("u1", "key-0001") + // 2: seen in the file
		eventLine("u1", "key-live") + // 3: seen in a call
		eventLine("u2", "key-0002") + // 4: unknown user
		eventLine("u1", "short") + // 5
		`{"userId":"u1","accountId":"a1","event":{"key":"purchase","fields":{"revenue":"1"}}}` + "\n" + // 6
		`{"userId":"u1","accountId":"a1","event":{"key":"purchase","fields":{"revenue":1.5}}}` // 7
	ref := put(t, s, file)
	input := map[string]any{
		"type": "MUTATION/USER_EVENT", "fileRef": ref, "outputFormat": "JSONL", "name": "backfill",
		"requester":   "me",
		"mailtoEmail": "me@example.com",
		"params": map[string]any{"importEvaluationOptions": map[string]any{"programs": false,
			"webhooks": map[string]any{"enabledWebhookTypes": []string{"test"}}}},
	}
	var valid struct{ ValidateJobCreation struct{ Errors []string } }
	ask(t, s, `query($i: JobInput!) { validateJobCreation(jobInput: $i) { errors } }`,
		map[string]any{"i": input}, &valid)
	if errs := valid.ValidateJobCreation.Errors; errs == nil || len(errs) != 0 {
		t.Fatalf("errors: %q", errs)
	}
	id := create(t, s, map[string]any{"i": input})
	got := poll(t, s, id)
	now := newClock().now.UnixMilli()
	month := int64(30 * 24 * time.Hour / time.Millisecond)
	if got.ID != id || got.Type != "MUTATION/USER_EVENT" || *got.Name != "backfill" || *got.Requester != "me" ||
		got.Status != "COMPLETED" ||
		got.DateCreated != now || *got.DateCompleted != now || *got.DateExpires != now+month ||
		got.Stats.RecordsProcessed != 7 || got.Stats.Errors != 5 {
		t.Fatalf("job: %+v", got)
	}

	type result struct {
		User  struct{ AccountID, ID string }
		Event struct {
			ID, Key                                    string
			DateTriggered, DateReceived, DateProcessed int64
			Fields                                     map[string]any
		}
	}
	results := readLines[result](t, fetch(s, *got.DownloadURL))
	if len(results) != 2 {
		t.Fatalf("results: %+v", results)
	}
	first, second := results[0], results[1]
	if first.User.AccountID != "a1" || first.User.ID != "u1" || first.Event.Key != "signedUp" ||
		first.Event.DateTriggered != 1538496397475 ||
		first.Event.DateReceived != now || first.Event.DateProcessed != now || first.Event.Fields["plan"] != "pro" ||
		len(first.Event.ID) != 24 {
		t.Errorf("first result: %+v", first)
	}
	if second.Event.Key != "purchase" || second.Event.DateTriggered != now || second.Event.ID == first.Event.ID {
		t.Errorf("second result: %+v", second)
	}
	faults := readLines[recordError](t, fetch(s, *got.DownloadErrorURL))
	want := []struct {
		number, status int
		code           string
	}{
		{2, 409, "IDEMPOTENCY_KEY_CONFLICT"}, {3, 409, "IDEMPOTENCY_KEY_CONFLICT"}, {4, 404, "USER_NOT_FOUND"},
		{5, 400, "BAD_REQUEST"}, {6, 400, "BAD_REQUEST"},
	}
	for i, w := range want {
		if i >= len(faults) || faults[i].RecordNumber != w.number || faults[i].StatusCode != w.status ||
			faults[i].APIErrorCode != w.code || faults[i].Message == "" {
			t.Fatalf("errors: %+v", faults)
		}
	}
	if body := fetch(s, *got.DownloadFileRefURL).Body.String(); body != file {
		t.Errorf("the upload comes back as %q", body)
	}

	all := s.Events()
	if len(all) != 3 || all[0].Import != nil || all[1].IdempotencyKey != "key-0001" ||
		string(all[1].Fields) != `{"plan":"pro"}` || all[2].DateTriggered != nil {
		t.Fatalf("events: %+v", all)
	}
	marker, err := json.Marshal(all[2].Import)
	wanted := `{"job":"` + id + `","webhooks":{"enabledWebhookTypes":["test"]},"programs":false,"analytics":true}`
	if err != nil || string(marker) != wanted {
		t.Errorf("marker %s, want %s", marker, wanted)
	}
	// The key is used up for calls too.
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 409)
	stats := s.Stats()
	if stats.Uploads != 1 || stats.Jobs != (sandbox.JobStats{Completed: 1}) || stats.Records != 7 ||
		stats.RecordErrors != 5 || stats.EventsAccepted != 3 || stats.Conflicts != 3 {
		t.Errorf("stats: %+v", stats)
	}
	if page := send(s, "GET", "/_sandbox/", "").Body.String(); !strings.Contains(page, "import job "+id) ||
		!strings.Contains(page, "programs false") {
		t.Error("the page does not show the job")
	}
}

// eventLines are lines of user events and whether they are valid.
var eventLines = []struct {
	name, line string
	valid      bool
}{
	{"all members", `{"userId":"u1","accountId":"a1","idempotencyKey":"key-0001","event":{"key":"k",` +
		`"dateTriggered":1,"fields":{"a":[{"b":[1]}]}}}`, true},
	{"least", `{"userId":"u1","accountId":"a1","event":{"key":"k"}}`, true},
	{"white space", ` { "userId" : "u1" , "accountId":"a1","event":{"key":"k"}}` + " \r", true},
	{"whole float", `{"userId":"u1","accountId":"a1","event":{"key":"k","dateTriggered":1.0}}`, true},
	{"long text", `{"userId":"u1","accountId":"a1","event":{"key":"k","fields":{"a":"` + strings.Repeat("x", 1500) +
		`"}}}`, true},
	{"empty", ``, false},
	{"blank", `  `, false},
	{"text", `hello`, false},
	{"array", `[]`, false},
	{"two values", `{"userId":"u1","accountId":"a1","event":{"key":"k"}}{}`, false},
	{"no user", `{"accountId":"a1","event":{"key":"k"}}`, false},
	{"no account", `{"userId":"u1","event":{"key":"k"}}`, false},
	{"no event", `{"userId":"u1","accountId":"a1"}`, false},
	{"events", `{"userId":"u1","accountId":"a1","events":[{"key":"k"}]}`, false},
	{"blank user", `{"userId":" ","accountId":"a1","event":{"key":"k"}}`, false},
	{"number as id", `{"userId":1,"accountId":"a1","event":{"key":"k"}}`, false},
	{"other member", `{"userId":"u1","accountId":"a1","event":{"key":"k"},"messageId":"m"}`, false},
	{"other member of event", `{"userId":"u1","accountId":"a1","event":{"key":"k","id":"x"}}`, false},
	{"no key", `{"userId":"u1","accountId":"a1","event":{"fields":{}}}`, false},
	{"text as date", `{"userId":"u1","accountId":"a1","event":{"key":"k","dateTriggered":"2020-01-01T00:00:00Z"}}`,
		false},
	{"date with a fraction", `{"userId":"u1","accountId":"a1","event":{"key":"k","dateTriggered":1.5}}`, false},
	{"null as date", `{"userId":"u1","accountId":"a1","event":{"key":"k","dateTriggered":null}}`, false},
	{"fields of an array", `{"userId":"u1","accountId":"a1","event":{"key":"k","fields":[]}}`, false},
	{"array of arrays", `{"userId":"u1","accountId":"a1","event":{"key":"k","fields":{"a":[[1]]}}}`, false},
	{"text too long", `{"userId":"u1","accountId":"a1","event":{"key":"k","fields":{"a":"` +
		strings.Repeat("x", 1501) + `"}}}`, false},
	{"open purchase", `{"userId":"u1","accountId":"a1","event":{"key":"purchase","fields":{"x":1}}}`, false},
	{"refund with a discount", `{"userId":"u1","accountId":"a1","event":{"key":"refund","fields":{"discount":1}}}`,
		false},
	{"key twice", `{"userId":"u1","userId":"u1","accountId":"a1","event":{"key":"k"}}`, false},
	{"idempotency key with a colon",
		`{"userId":"u1","accountId":"a1","idempotencyKey":"a::bcdefgh","event":{"key":"k"}}`, false},
	{"null as idempotency key", `{"userId":"u1","accountId":"a1","idempotencyKey":null,"event":{"key":"k"}}`, false},
	{"line too long", `{"userId":"u1","accountId":"a1","event":{"key":"k"}` +
		strings.Repeat(" ", 1<<20) + `}`, false},
}

func TestEventLines(t *testing.T) {
	for _, test := range eventLines {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, open())
			// Two valid lines around it, so that it is neither the first nor the last.
			ref := put(t, s, eventLine("u1", "key-first")+test.line+"\n"+eventLine("u1", "key-last"))
			got := poll(t, s, create(t, s, eventsOf(ref)))
			if got.Status != "COMPLETED" || got.Stats.RecordsProcessed != 3 {
				t.Fatalf("job: %+v", got)
			}
			if valid := got.Stats.Errors == 0; valid != test.valid {
				t.Errorf("errors: %+v", readLines[recordError](t, fetch(s, *got.DownloadErrorURL)))
			}
			if n := len(s.Events()); n != 3-got.Stats.Errors {
				t.Errorf("%d events", n)
			}
		})
	}
}

func TestImportUsers(t *testing.T) {
	s := newServer(t, open())
	ref := put(t, s, strings.Join([]string{
		`{"id":"u1","accountId":"a1","firstName":"Ann","imageUrl":null,"dateCreated":1500000000000,` +
			`"customFields":{"plan":"pro","timeZone":"Europe/Paris"},"segments":["ignored"],"unknown":[1]}`,
		`{"id":"u2","accountId":"a1","email":"no"}`,
		`{"id":"u3"}`,
		`{"id":"u4","accountId":"a1","customFields":{"timeZone":1}}`,
		`{"id":"u5","accountId":"a1","referredBy":{"isConverted":true}}`,
		`{"id":"u6","accountId":"a1","referredBy":{"isConverted":"true"},` +
			`"shareLinks":{"prog-1":"https://x.example"},` +
			`"locale":"en_US"}`,
	}, "\n"))
	got := poll(t, s, create(t, s, usersOf(ref, map[string]any{"segments": []string{"vip"}, "programId": "p1"})))
	if got.Status != "COMPLETED" || got.Stats.RecordsProcessed != 6 || got.Stats.Errors != 4 {
		t.Fatalf("job: %+v, %s", got, fetch(s, *got.DownloadErrorURL).Body)
	}
	type result struct {
		User struct{ AccountID, ID string }
	}
	results := readLines[result](t, fetch(s, *got.DownloadURL))
	if len(results) != 2 || results[0].User.ID != "u1" || results[1].User.ID != "u6" ||
		results[1].User.AccountID != "a1" {
		t.Errorf("results: %+v", results)
	}
	const want = `{"accountId":"a1","customFields":{"plan":"pro","timeZone":"Europe/Paris"},` +
		`"dateCreated":1500000000000,"firstName":"Ann","id":"u1","imageUrl":null,"segments":["vip"]}`
	if got := send(s, "GET", userU1, "").Body.String(); got != want {
		t.Errorf("user\ngot  %s\nwant %s", got, want)
	}
	if n := s.Stats().Users; n != 2 {
		t.Errorf("%d users", n)
	}
}

func TestCSVResults(t *testing.T) {
	options := open()
	options.RecordNumberBase = sandbox.RecordsFromZero
	s := newServer(t, options)
	input := eventsOf(put(t, s, `{"userId":"u,1","accountId":"a\"1","event":{"key":"k","fields":{"a":"b\nc"}}}`+"\n"+
		`{"userId":""}`))
	input["i"].(map[string]any)["outputFormat"] = "CSV"
	got := poll(t, s, create(t, s, input))
	read := func(link string) [][]string {
		t.Helper()
		w := fetch(s, link)
		rows, err := csv.NewReader(w.Body).ReadAll()
		if err != nil || w.Header().Get("Content-Type") != "text/csv; charset=utf-8" {
			t.Fatalf("%v, content type %q", err, w.Header().Get("Content-Type"))
		}
		return rows
	}
	now := fmt.Sprint(newClock().now.UnixMilli())
	rows := read(*got.DownloadURL)
	if len(rows) != 2 {
		t.Fatalf("rows: %q", rows)
	}
	rows[1][2] = "id"
	if want := [][]string{
		{"user.accountId", "user.id", "event.id", "event.key", "event.dateTriggered", "event.dateReceived",
			"event.dateProcessed", "event.fields"},
		{`a"1`, "u,1", "id", "k", now, now, now, `{"a":"b\nc"}`},
	}; !reflect.DeepEqual(rows, want) {
		t.Errorf("rows: %q", rows)
	}
	if rows := read(*got.DownloadErrorURL); !reflect.DeepEqual(rows, [][]string{
		{"recordNumber", "message", "apiErrorCode", "statusCode"},
		{"1", "The user id must not be blank.", "BAD_REQUEST", "400"},
	}) {
		t.Errorf("errors: %q", rows)
	}
}

func TestJobRefusals(t *testing.T) {
	s := newServer(t, open())
	ref := put(t, s, eventLine("u1", ""))
	csvRef := fileRef(t, do(s, newForm(part{"file", "f.csv", "userId,accountId"})))
	evaluation := func(options any) map[string]any { return map[string]any{"importEvaluationOptions": options} }
	object := func(name string, value any) map[string]any { return map[string]any{name: value} }
	collections := func(one any) map[string]any {
		chosen := object("enabledAnalyticsEventCollections", []any{one})
		return object("params", evaluation(object("analytics", chosen)))
	}
	for _, test := range []struct {
		name   string
		change map[string]any
		fault  string // none if valid
	}{
		{"all true", object("params",
			evaluation(map[string]any{"webhooks": true, "programs": true, "analytics": true})), ""},
		{"chosen", object("params", evaluation(map[string]any{
			"webhooks":  object("enabledWebhookTypes", []string{"user.created"}),
			"programs":  object("enabledProgramIds", []string{}),
			"analytics": object("enabledAnalyticsEventCollections", []any{object("collectionName", "c")}),
		})), ""},
		{"no params", object("params", nil), ""},
		{"other type", object("type", "MUTATION/DELETE_USER"), "not simulated"},
		{"no file", object("fileRef", nil), "fileRef is required"},
		{"unknown file", object("fileRef", "imports/"+alias+"/x.jsonl"), "unknown"},
		{"csv", object("fileRef", csvRef), "only JSONL"},
		{"format", object("outputFormat", "XLSX"), "outputFormat"},
		{"e-mail", object("mailtoEmail", "me"), "mailtoEmail"},
		{"params of an array", object("params", []any{}), "params must be an object"},
		{"unknown param", object("params", object("dryRun", true)), "params.dryRun"},
		{"segments of events", object("params", object("segments", []string{"a"})), "params.segments"},
		{"options of null", object("params", evaluation(nil)), "must be an object"},
		{"unknown option", object("params", evaluation(object("emails", false))), "emails is no option"},
		{"empty programs", object("params", evaluation(object("programs", map[string]any{}))), "programs must be"},
		{"null as programs", object("params", evaluation(object("programs", nil))), "programs must be"},
		{"text as webhooks", object("params", evaluation(object("webhooks", "false"))), "webhooks must be"},
		{"ids that are a text", object("params", evaluation(object("programs", object("enabledProgramIds", "p")))),
			"programs must be"},
		{"ids of numbers", object("params", evaluation(object("programs", object("enabledProgramIds", []any{1})))),
			"programs must be"},
		{"more beside ids",
			object("params", evaluation(object("programs", map[string]any{"enabledProgramIds": []any{}, "x": 1}))),
			"programs must be"},
		{"collections of texts", collections("c"), "analytics must be"},
		{"collections with more", collections(map[string]any{"collectionName": "c", "x": 1}), "analytics must be"},
	} {
		t.Run(test.name, func(t *testing.T) {
			input := map[string]any{"type": "MUTATION/USER_EVENT", "fileRef": ref}
			for name, value := range test.change {
				input[name] = value
			}
			var valid struct{ ValidateJobCreation struct{ Errors []string } }
			ask(t, s, `query($i: JobInput!) { validateJobCreation(jobInput: $i) { errors } }`,
				map[string]any{"i": input}, &valid)
			answer := query(t, s, createJob, map[string]any{"i": input})
			if test.fault == "" {
				if len(valid.ValidateJobCreation.Errors) != 0 || len(answer.Errors) != 0 {
					t.Errorf("refused: %q, %+v", valid.ValidateJobCreation.Errors, answer.Errors)
				}
				return
			}
			if got := strings.Join(valid.ValidateJobCreation.Errors, " "); !strings.Contains(got, test.fault) {
				t.Errorf("validation says %q", got)
			}
			if len(answer.Errors) != 1 || !strings.Contains(answer.Errors[0].Message, test.fault) ||
				answer.Errors[0].Extensions.APIError.StatusCode != 400 ||
				string(answer.Data["createJob"]) != "null" {
				t.Errorf("creation says %+v", answer)
			}
		})
	}
	// Options can stand in the query as well.
	var got struct{ CreateJob job }
	ask(t, s, `mutation($p: RSJsonNode) { createJob(jobInput: {type: "MUTATION/USER_EVENT", fileRef: "`+ref+
		`", params: {importEvaluationOptions: {programs: $p,`+
		` webhooks: {enabledWebhookTypes: ["a"]}}}}) { id status stats{recordsProcessed} } }`,
		map[string]any{"p": false}, &got)
}

func TestContentFaults(t *testing.T) {
	for name, content := range map[string]string{
		"text":           "hello\n",
		"csv":            "userId,accountId\nu1,a1\n",
		"array":          "[" + eventLine("u1", "") + "]",
		"white space":    " \n \n",
		"too many lines": strings.Repeat("{}\n", 500_001),
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, open())
			id := create(t, s, eventsOf(put(t, s, content)))
			got := poll(t, s, id)
			if got.Status != "ABORTED" || got.Stats.RecordsProcessed != 0 || got.DateCompleted != nil ||
				got.DateExpires != nil || got.DownloadErrorURL != nil {
				t.Errorf("job: %+v", got)
			}
			if stats := s.Stats(); stats.Jobs != (sandbox.JobStats{Aborted: 1}) {
				t.Errorf("stats: %+v", stats.Jobs)
			}
		})
	}
}

func TestJobProgress(t *testing.T) {
	options := open()
	options.JobTime = 10 * time.Minute
	s := newServer(t, options)
	var file strings.Builder
	for i := range 100 {
		file.WriteString(eventLine("u1", fmt.Sprintf("key-%06d", i)))
	}
	id := create(t, s, eventsOf(put(t, s, file.String())))
	advance := func(by time.Duration) {
		t.Helper()
		if err := s.Advance(by); err != nil {
			t.Fatal(err)
		}
	}
	for minute := range 10 {
		got := poll(t, s, id)
		if got.Status != "PENDING" || got.Stats.RecordsProcessed != 10*minute || got.DownloadURL != nil ||
			got.DownloadErrorURL != nil ||
			got.DownloadFileRefURL != nil || got.DateCompleted != nil {
			t.Fatalf("minute %d: %+v", minute, got)
		}
		if n := len(s.Events()); n != 10*minute {
			t.Fatalf("minute %d: %d events", minute, n)
		}
		wantStatus(t, fetch(s, "/api/v1/"+alias+"/export/"+id+"/download/results"), 404)
		advance(time.Minute)
	}
	// A page runs due jobs, as a poll does.
	if n := strings.Count(send(s, "GET", "/_sandbox/events?limit=1000", "").Body.String(), `"seq"`); n != 100 {
		t.Errorf("%d events on the page", n)
	}
	advance(time.Hour)
	got := poll(t, s, id)
	want := newClock().now.Add(10 * time.Minute).UnixMilli()
	if got.Status != "COMPLETED" || *got.DateCompleted != want {
		t.Errorf("job: %+v, want completed at %d", got, want)
	}
	if all := s.Events(); all[99].DateReceived != *got.DateCompleted {
		t.Errorf("last event received at %d", all[99].DateReceived)
	}
}

func TestLinks(t *testing.T) {
	options := open()
	options.Tenants["other"] = "OTHER_key"
	s := newServer(t, options)
	got := poll(t, s, create(t, s, eventsOf(put(t, s, eventLine("u1", "")))))
	const origin = "http://example.com/api/v1/" + alias + "/export/"
	for _, link := range []*string{got.DownloadURL, got.PublicURL, got.DownloadErrorURL, got.DownloadFileRefURL} {
		if link == nil || !strings.HasPrefix(*link, origin) {
			t.Fatalf("link %v", link)
		}
		wantStatus(t, fetch(s, *link), 200)
	}
	open := func(link string) int { return do(s, httptest.NewRequest("GET", link, nil)).Code }
	if status := open(*got.PublicURL); status != 200 {
		t.Errorf("public link: status %d", status)
	}
	for _, link := range []string{*got.DownloadURL, *got.DownloadFileRefURL, *got.PublicURL + "x",
		*got.DownloadURL + "?token="} {
		if status := open(link); status != 401 {
			t.Errorf("%s without a key: status %d", link, status)
		}
	}
	wantStatus(t, fetch(s, *got.DownloadURL+"x"), 404)
	wantStatus(t, fetch(s, strings.Replace(*got.DownloadURL, got.ID, "unknown", 1)), 404)
	// Another tenant has neither the job nor the file.
	r := httptest.NewRequest("GET", strings.Replace(*got.DownloadURL, alias, "other", 1), nil)
	r.SetBasicAuth("", "OTHER_key")
	wantStatus(t, do(s, r), 404)

	if err := s.Advance(30*24*time.Hour - 1); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, fetch(s, *got.DownloadURL), 200)
	if err := s.Advance(1); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{*got.DownloadURL, *got.PublicURL, *got.DownloadErrorURL, *got.DownloadFileRefURL} {
		wantStatus(t, fetch(s, link), 410)
	}
	if late := poll(t, s, got.ID); late.Status != "COMPLETED" || late.DownloadURL != nil || late.PublicURL != nil {
		t.Errorf("late: %+v", late)
	}
}

func TestAbortedJobs(t *testing.T) {
	lines := func(job, n int) string {
		var file strings.Builder
		for i := range n {
			file.WriteString(eventLine("u1", fmt.Sprintf("key-%d-%06d", job, i)))
		}
		return file.String()
	}
	for _, test := range []struct {
		name      string
		faults    sandbox.JobFaults
		processed int
	}{
		{"half", sandbox.JobFaults{AbortFirst: 1}, 5},
		{"after 3", sandbox.JobFaults{AbortFirst: 1, AbortAfter: 3}, 3},
		{"after more than all", sandbox.JobFaults{AbortFirst: 1, AbortAfter: 30}, 10},
		{"share", sandbox.JobFaults{AbortRate: 1}, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := open()
			options.Jobs = test.faults
			options.JobTime = 10 * time.Second
			s := newServer(t, options)
			ref := put(t, s, lines(1, 10))
			id := create(t, s, eventsOf(ref))
			if err := s.Advance(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			got := poll(t, s, id)
			if got.Status != "ABORTED" || got.Stats.RecordsProcessed != test.processed || got.DownloadURL != nil ||
				got.DownloadErrorURL != nil || got.DownloadFileRefURL != nil || got.DateCompleted != nil {
				t.Fatalf("job: %+v", got)
			}
			if n := len(s.Events()); n != test.processed {
				t.Errorf("%d events", n)
			}
			// The keys of processed records are used up.
			id = create(t, s, eventsOf(ref))
			if err := s.Advance(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			got = poll(t, s, id)
			if test.faults.AbortRate > 0 {
				if got.Status != "ABORTED" {
					t.Errorf("second job: %+v", got)
				}
				return
			}
			if got.Status != "COMPLETED" || got.Stats.Errors != test.processed || len(s.Events()) != 10 {
				t.Errorf("second job: %+v", got)
			}
		})
	}
}

func TestAbortRate(t *testing.T) {
	run := func() (statuses string) {
		options := open()
		options.Jobs.AbortRate = 0.3
		options.Rand = rand.New(rand.NewPCG(1, 2))
		s := newServer(t, options)
		for range 100 {
			job := poll(t, s, create(t, s, eventsOf(put(t, s, eventLine("u1", "")))))
			statuses += job.Status[:1]
		}
		return statuses
	}
	first := run()
	if n := strings.Count(first, "A"); n < 15 || n > 45 {
		t.Errorf("%d of 100 jobs aborted", n)
	}
	if again := run(); again != first {
		t.Errorf("the same source decides differently:\n%s\n%s", first, again)
	}
}

func TestRefusedRecords(t *testing.T) {
	var file strings.Builder
	for i := range 1000 {
		file.WriteString(eventLine("u1", fmt.Sprintf("key-%06d", i)))
	}
	for _, burn := range []bool{false, true} {
		t.Run(fmt.Sprintf("burn=%v", burn), func(t *testing.T) {
			options := open()
			options.BurnKeys = burn
			options.Rand = rand.New(rand.NewPCG(1, 2))
			options.Jobs.RefuseRecords = []sandbox.FailRule{{Rate: 0.02, Status: 400},
				{Rate: 0.03, Status: 500, After: true}}
			s := newServer(t, options)
			got := poll(t, s, create(t, s, eventsOf(put(t, s, file.String()))))
			count := map[int]int{}
			for _, e := range readLines[recordError](t, fetch(s, *got.DownloadErrorURL)) {
				count[e.StatusCode]++
			}
			if count[400] < 5 || count[400] > 50 || count[500] < 10 || count[500] > 60 ||
				count[400]+count[500] != got.Stats.Errors {
				t.Errorf("errors: %v of %+v", count, got.Stats)
			}
			// Records that are refused after processing have had their effect.
			if n := len(s.Events()); n != 1000-count[400] {
				t.Errorf("%d events, %v refused", n, count)
			}
			keys := 1000
			if !burn {
				keys -= count[400]
			}
			if stats := s.Stats(); stats.IdempotencyKeys != keys {
				t.Errorf("%d keys, want %d", stats.IdempotencyKeys, keys)
			}
		})
	}
}

func TestParseAbort(t *testing.T) {
	for text, want := range map[string]struct {
		first int
		rate  float64
	}{"0": {}, "1": {first: 1}, "12": {first: 12}, "10%": {rate: 0.1}, "0.5": {rate: 0.5}, "1.0": {rate: 1}} {
		first, rate, err := sandbox.ParseAbort(text)
		if err != nil || first != want.first || rate != want.rate {
			t.Errorf("%q: %d, %v, %v", text, first, rate, err)
		}
	}
	for _, text := range []string{"", "-1", "+1", "x", "%", "101%", "1e3", "1 "} {
		if first, rate, err := sandbox.ParseAbort(text); err == nil {
			t.Errorf("%q: %d, %v", text, first, rate)
		}
	}
}

func TestJobOptions(t *testing.T) {
	_, err := sandbox.New(sandbox.Options{
		JobTime:          -1,
		RecordNumberBase: 9,
		MaxDisk:          -1,
		Jobs: sandbox.JobFaults{AbortFirst: -1, AbortRate: 2, RefuseRecords: []sandbox.FailRule{
			{Rate: 0.9, Status: 400, RetryAfter: 1}, {Rate: 0.9, Status: 200}, {Status: 400, Page: true},
		}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"job time", "record number base", "max disk", "abort first", "abort rate",
		"retry-after", "status 200", "no page", "add up"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not speak of %q: %v", want, err)
		}
	}
}

func TestResetForgetsJobs(t *testing.T) {
	options := open()
	options.JobTime = time.Hour
	s := newServer(t, options)
	ref := put(t, s, eventLine("u1", "key-0001")+eventLine("u1", "key-0002"))
	id := create(t, s, eventsOf(ref))
	if err := s.Advance(30 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Events()); n != 1 {
		t.Fatalf("%d events", n)
	}
	s.Reset()
	if err := s.Advance(2 * time.Hour); err != nil {
		t.Fatal(err)
	}
	if answer := query(t, s, pollJob, map[string]any{"id": id}); len(answer.Errors) != 1 {
		t.Errorf("the job is still there: %+v", answer)
	}
	if answer := query(t, s, createJob, eventsOf(ref)); len(answer.Errors) != 1 {
		t.Errorf("the file is still there: %+v", answer)
	}
	if stats := s.Stats(); stats.EventsAccepted != 0 || stats.Jobs != (sandbox.JobStats{}) || stats.Records != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

// TestJobsAtOnce polls the same jobs concurrently while calls use the same keys. Each key is processed once.
func TestJobsAtOnce(t *testing.T) {
	const keys = 500
	s := newServer(t, open())
	var file strings.Builder
	for i := range keys {
		file.WriteString(eventLine("u1", fmt.Sprintf("key-%06d", i)))
	}
	ref := put(t, s, file.String())
	ids := []string{create(t, s, eventsOf(ref)), create(t, s, eventsOf(ref))}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { poll(t, s, ids[i%2]) })
		all.Go(func() {
			for k := i; k < keys; k += 4 {
				send(s, "POST", events, eventBody(fmt.Sprintf("key-%06d", k)))
			}
		})
	}
	all.Go(func() { send(s, "GET", "/_sandbox/", "") })
	all.Wait()
	stats := s.Stats()
	if stats.EventsAccepted != keys || stats.Conflicts != 2*keys || stats.Records != 2*keys ||
		stats.Jobs.Completed != 2 {
		t.Errorf("stats: %+v", stats)
	}
}

// TestLargeJob checks that an import of the usual size takes seconds.
func TestLargeJob(t *testing.T) {
	lines := 100_000
	if testing.Short() {
		lines = 10_000
	}
	var file strings.Builder
	for i := range lines {
		file.WriteString(eventLine("u1", fmt.Sprintf("ajs-next-1790812800123-%012d", i)))
	}
	s := newServer(t, open())
	start := time.Now()
	got := poll(t, s, create(t, s, eventsOf(put(t, s, file.String()))))
	t.Logf("%d records in %v", lines, time.Since(start))
	if got.Status != "COMPLETED" || got.Stats.RecordsProcessed != lines || got.Stats.Errors != 0 {
		t.Fatalf("job: %+v", got)
	}
	if n := strings.Count(fetch(s, *got.DownloadURL).Body.String(), "\n"); n != lines {
		t.Errorf("%d results", n)
	}
}
