package saasquatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
)

// graphQLServer answers every call with body and records the last request.
func graphQLServer(t *testing.T, body string) (*Importer, *graphQLRequest) {
	t.Helper()
	var got graphQLRequest
	return newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		user, password, ok := r.BasicAuth()
		if r.Method != "POST" || r.RequestURI != "/api/v1/test_tenant/graphql" ||
			r.Header.Get("Content-Type") != "application/json" || user != "" || password != testKey || !ok ||
			err != nil {
			t.Errorf("%s %s %s as %s:%s (%v)", r.Method, r.RequestURI, r.Header.Get("Content-Type"), user, password,
				err)
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, body)
	}), &got
}

func TestJobInputIsSentWhole(t *testing.T) {
	yes := true
	for _, test := range []struct {
		input adapter.JobInput
		want  string
	}{
		{
			adapter.JobInput{Type: adapter.JobTypeUserEvents, FileRef: "imports/r.jsonl"},
			`{"jobInput":{"type":"MUTATION/USER_EVENT","outputFormat":"JSONL","fileRef":"imports/r.jsonl",` +
				`"params":{"importEvaluationOptions":{"programs":false,"webhooks":false}}}}`,
		},
		{
			adapter.JobInput{Type: "T", Name: "n", Requester: "me", OutputFormat: "CSV", FileRef: "r", Programs: true,
				Webhooks: true, Analytics: &yes},
			`{"jobInput":{"type":"T","name":"n","requester":"me","outputFormat":"CSV","fileRef":"r",` +
				`"params":{"importEvaluationOptions":{"programs":true,"webhooks":true,"analytics":true}}}}`,
		},
	} {
		importer, got := graphQLServer(t, `{"data":{"validateJobCreation":{"errors":[]},"createJob":{"id":"j"}}}`)
		if faults, err := importer.ValidateJob(t.Context(), test.input); len(faults) != 0 || err != nil {
			t.Errorf("validate: %v, %v", faults, err)
		}
		if string(got.Variables) != test.want || !strings.HasPrefix(got.Query, "query ") {
			t.Errorf("validate:\n got %s %s\nwant %s", got.Query, got.Variables, test.want)
		}
		if job, err := importer.CreateJob(t.Context(), test.input); job.ID != "j" || err != nil {
			t.Errorf("create: %v, %v", job, err)
		}
		if string(got.Variables) != test.want || !strings.HasPrefix(got.Query, "mutation ") {
			t.Errorf("create:\n got %s %s\nwant %s", got.Query, got.Variables, test.want)
		}
	}
}

func TestValidateJob(t *testing.T) {
	importer, _ := graphQLServer(t, `{"data":{"validateJobCreation":{"errors":["line 1\nis bad","`+
		strings.Repeat("x", 1000)+`",{"a":1},null]}}}`)
	want := []string{"line 1 is bad", strings.Repeat("x", 300) + "…", `{"a":1}`, ""}
	if faults, err := importer.ValidateJob(t.Context(), adapter.JobInput{}); !slices.Equal(faults, want) ||
		err != nil {
		t.Errorf("got %q, %v", faults, err)
	}
	importer, _ = graphQLServer(t, `{"data":{"validateJobCreation":{"errors":["`+strings.Repeat(`x","`, 500)+`"]}}}`)
	if faults, err := importer.ValidateJob(t.Context(), adapter.JobInput{}); len(faults) != 100 || err != nil {
		t.Errorf("got %d faults, %v", len(faults), err)
	}
}

func TestJob(t *testing.T) {
	importer, got := graphQLServer(t, `{"data":{"job":{"id":"j","type":"MUTATION/USER_EVENT","requester":"API",`+
		`"status":"COMPLETED","dateCreated":1664818419661,`+
		`"dateCompleted":"1664818420000","dateExpires":null,"stats":{"recordsProcessed":22,"errors":3},`+
		`"downloadUrl":"https://s/ok?sig=secret-sig","downloadErrorUrl":"/api/v1/e"}}}`)
	job, err := importer.Job(t.Context(), `j"`)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Variables) != `{"id":"j\""}` {
		t.Errorf("asked with %s", got.Variables)
	}
	if job.ResultsURL.Reveal() != "https://s/ok?sig=secret-sig" || job.ErrorsURL.Reveal() != "/api/v1/e" {
		t.Errorf("files at %s and %s", job.ResultsURL.Reveal(), job.ErrorsURL.Reveal())
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", job, job, job), "secret-sig") {
		t.Error("a signed link prints")
	}
	want := adapter.ImportJob{
		ID: "j", Type: "MUTATION/USER_EVENT", Requester: "API", Status: adapter.JobCompleted, RecordsProcessed: 22,
		Errors:  3,
		Created: time.UnixMilli(1664818419661).UTC(), Completed: time.UnixMilli(1664818420000).UTC(),
		ResultsURL: job.ResultsURL, ErrorsURL: job.ErrorsURL,
	}
	if job != want {
		t.Errorf("got  %+v\nwant %+v", job, want)
	}
}

func TestJobStatuses(t *testing.T) {
	for name, want := range map[string]adapter.JobStatus{`"PENDING"`: adapter.JobPending,
		`"COMPLETED"`: adapter.JobCompleted, `"ABORTED"`: adapter.JobAborted, `"RUNNING"`: 0, `null`: 0, `""`: 0} {
		importer, _ := graphQLServer(t, `{"data":{"job":{"status":`+name+`,"stats":null}}}`)
		job, err := importer.Job(t.Context(), "j")
		if job.Status != want || job.ID != "j" || err != nil {
			t.Errorf("%s: got %+v, %v", name, job, err)
		}
		if job.Status.Ended() != (want == adapter.JobCompleted || want == adapter.JobAborted) {
			t.Errorf("%s has ended: %t", name, job.Status.Ended())
		}
	}
}

// TestJobWithErrors checks that an error of a member hides no status, except an error of a completed job's files.
func TestJobWithErrors(t *testing.T) {
	const failed = `"downloadUrl":null}},"errors":[{"message":"no file","path":["job","downloadUrl"],` +
		`"extensions":{"apiError":{"statusCode":503}}}]}`
	for _, status := range []string{"PENDING", "ABORTED"} {
		importer, _ := graphQLServer(t, `{"data":{"job":{"status":"`+status+`",`+failed)
		if job, err := importer.Job(t.Context(), "j"); job.Status.String() != status || err != nil {
			t.Errorf("%s: got %+v, %v", status, job, err)
		}
	}
	for _, status := range []string{"COMPLETED", "OTHER"} {
		importer, _ := graphQLServer(t, `{"data":{"job":{"status":"`+status+`",`+failed)
		if _, err := importer.Job(t.Context(), "j"); kind(t, err) != "retryable" {
			t.Errorf("%s: got %v", status, err)
		}
	}
}

func TestNoJob(t *testing.T) {
	for _, body := range []string{
		`{"data":{"job":null}}`,
		`{"data":{"job":null},"errors":[{"message":"x","extensions":{"apiError":{"statusCode":404,` +
			`"apiErrorCode":"JOB_NOT_FOUND"}}}]}`,
	} {
		importer, _ := graphQLServer(t, body)
		if _, err := importer.Job(t.Context(), "j"); !errors.Is(err, adapter.ErrNoJob) || kind(t, err) != "refused" {
			t.Errorf("%s: %v", body, err)
		}
	}
	importer, _ := graphQLServer(t, `{"errors":[{"message":"x","extensions":{"apiError":{"statusCode":404,`+
		`"apiErrorCode":"TENANT_NOT_FOUND"}}}]}`)
	if _, err := importer.Job(t.Context(), "j"); errors.Is(err, adapter.ErrNoJob) || kind(t, err) != "misconfigured" {
		t.Errorf("an unknown tenant: %v", err)
	}
}

func TestTenantMode(t *testing.T) {
	for body, want := range map[string]adapter.TenantMode{
		`{"data":{"tenant":{"tenantAlias":"a","isLiveMode":true}}}`:       adapter.TenantLive,
		`{"data":{"tenant":{"tenantAlias":"test_a","isLiveMode":false}}}`: adapter.TenantTest,
		`{"data":{"tenant":{"tenantAlias":"a","isLiveMode":null}}}`:       0,
		`{"data":{"tenant":{"tenantAlias":"a","isLiveMode":"yes"}}}`:      0,
		`{"data":{"tenant":null}}`:                                        0,
		`{"data":{"tenant":{"isLiveMode":true}},"errors":[{}]}`:           0,
	} {
		importer, _ := graphQLServer(t, body)
		if got, err := importer.TenantMode(t.Context()); got != want || (err == nil) != (want != 0) {
			t.Errorf("%s: got %v, %v", body, got, err)
		}
	}
}

// TestGraphQLErrors checks the meaning of errors in answers with the status 200, and whether createJob may have made a
// job.
func TestGraphQLErrors(t *testing.T) {
	tests := []struct {
		body      string
		kind      string
		ambiguous bool
		text      string
	}{
		{`{"data":null,"errors":[{"message":"m","extensions":{"apiError":{"message":"No such file","statusCode":400,` +
			`"apiErrorCode":"BAD_REQUEST","rsCode":"RS999"}}}]}`, "refused", false,
			"create import job: HTTP 400 BAD_REQUEST RS999 No such file"},
		{`{"data":{"createJob":null},"errors":[{"message":"first"},{"message":"m",` +
			`"extensions":{"apiError":{"statusCode":401}}}]}`, "misconfigured", false,
			"create import job: HTTP 401 m"},
		{`{"errors":[{"message":"m"}],"extensions":{"apiError":{"message":"Wait","statusCode":429}}}`, "retryable",
			false, "create import job: HTTP 429 Wait"},
		{`{"extensions":{"apiError":{"message":"Gone wrong","statusCode":500}}}`, "retryable", true,
			"create import job: HTTP 500 Gone wrong"},
		{`{"data":null,"errors":[{"message":"Validation error: no such field",` +
			`"extensions":{"classification":"ValidationError"}}]}`, "refused", false,
			"create import job: Validation error: no such field"},
		{`{"data":null,"errors":[{"message":"boom","extensions":{"classification":"DataFetchingException"}}]}`,
			"retryable", true, "create import job: boom"},
		{`{"data":null,"errors":[{"message":"boom","extensions":{"classification":"DataFetchingException",` +
			`"apiError":{"statusCode":422}}}]}`, "refused", false, "create import job: HTTP 422 boom"},
		{`{"data":null,"errors":[{"message":"m"}]}`, "refused", false, "create import job: m"},
		{`{"data":null,"errors":[{}]}`, "refused", false, "create import job: refused"},
		{`{"data":{"createJob":{"id":null}},"errors":[{"message":"m"}]}`, "refused", true, "create import job: m"},
		{`{"data":{"createJob":{}}}`, "retryable", true, "no id"},
		{`{"data":{"createJob":null}}`, "retryable", true, "no id"},
		{`{"data":{"createJob":{"id":5}}}`, "retryable", true, "documented form"},
		{`{"data":{"createJob":null},"errors":{"message":"m"}}`, "retryable", true, "no list"},
		{`{"errors":null}`, "retryable", true, "neither data nor errors"},
		{`{"data":null,"errors":[{"message":5,"extensions":{"apiError":{"statusCode":"x","message":"m"}}}]}`,
			"refused", false, "create import job: m"},
		{`{"data":null,"errors":[{"extensions":{"apiError":{"statusCode":200,"message":"m"}}}]}`, "refused", false,
			"create import job: m"},
		{`{"data":null,"errors":[{"extensions":{"apiError":{"rsCode":"RS045","message":"m"}}}]}`, "misconfigured",
			false, "create import job: RS045 m"},
	}
	for _, test := range tests {
		importer, _ := graphQLServer(t, test.body)
		_, err := importer.CreateJob(t.Context(), adapter.JobInput{})
		if got := kind(t, err); got != test.kind || ambiguous(err) != test.ambiguous ||
			!strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%s:\n got %s, ambiguous=%t, %v\nwant %s, ambiguous=%t, %s", test.body, got, ambiguous(err), err,
				test.kind, test.ambiguous, test.text)
		}
	}
}

// TestCreateJobWithPartialData checks that an id proves that there is a job, in spite of errors.
func TestCreateJobWithPartialData(t *testing.T) {
	importer, _ := graphQLServer(t, `{"data":{"createJob":{"id":"j","dateCreated":null}},"errors":[{"message":"no `+
		`date"}]}`)
	if job, err := importer.CreateJob(t.Context(), adapter.JobInput{}); job.ID != "j" || err != nil {
		t.Errorf("got %+v, %v", job, err)
	}
}

func FuzzGraphQLAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"createJob":{"id":"j","dateCreated":1}}}`,
		`{"data":null,"errors":[{"message":"m","extensions":{"apiError":{"statusCode":400}}}]}`,
		`{"extensions":{"apiError":{"statusCode":500}}}`, `{"errors":{}}`, `[]`, `<html>`,
		`{"data":{"createJob":[]},"errors":[1]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var data struct {
			Job *jobAnswer `json:"createJob"`
		}
		failure := readAnswer("op", &http.Response{StatusCode: 200, Header: http.Header{}}, text, &data)
		if failure == nil {
			if !json.Valid(text) {
				t.Fatalf("took %q", text)
			}
			return
		}
		if failure.Misconfigured && failure.Retryable || failure.Reason == "" || len(failure.Error()) > 1200 {
			t.Fatalf("%q: %+v", text, failure)
		}
		if strings.ContainsAny(failure.Error(), "\n\r\x1b\x00") {
			t.Fatalf("does not print: %q", failure.Error())
		}
	})
}
