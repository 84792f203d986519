package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// call sends a request to the sandbox as its tenant and returns the body.
func call(t *testing.T, method, url, contentType, body string) string {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("", sandboxKey)
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: status %d, %v: %s", method, url, response.StatusCode, err, answer)
	}
	return string(answer)
}

// TestSandboxImports runs two jobs with the flags for import jobs.
func TestSandboxImports(t *testing.T) {
	t.Parallel()
	base := startSandbox(t, "--abort-job", "1", "--abort-after", "1", "--record-base", "0", "--refuse-records",
		"100%:418", "--job-time", "1h") +
		"/api/v1/" + sandboxTenant
	var upload struct{ FileRef string }
	line := `{"userId":"u","accountId":"u","event":{"key":"k"}}` + "\n"
	if err := json.Unmarshal([]byte(call(t, "POST", base+"/export/upload", "application/octet-stream", line+line)),
		&upload); err != nil {
		t.Fatal(err)
	}
	type job struct {
		ID, Status       string
		Stats            struct{ RecordsProcessed, Errors int }
		DownloadErrorURL string
	}
	var jobs [2]job
	graphQL := func(query string) (got struct{ Data struct{ Job, CreateJob job } }) {
		t.Helper()
		body := fmt.Sprintf(`{"query":%q}`, query)
		if err := json.Unmarshal([]byte(call(t, "POST", base+"/graphql", "application/json", body)),
			&got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for i := range jobs {
		jobs[i] = graphQL(fmt.Sprintf(`mutation{createJob(jobInput:{type:"MUTATION/USER_EVENT",fileRef:%q}){id `+
			`status}}`, upload.FileRef)).Data.CreateJob
	}
	look := func(i int) job {
		t.Helper()
		return graphQL(fmt.Sprintf(`{job(id:%q){status stats{recordsProcessed errors} `+
			`downloadErrorUrl(publicLink:true)}}`, jobs[i].ID)).Data.Job
	}
	if got := look(1); got.Status != "PENDING" {
		t.Errorf("second job at once: %+v", got)
	}
	sandbox, _, _ := strings.Cut(base, "/api/")
	call(t, "POST", sandbox+"/_sandbox/clock", "application/json", `{"advance":"1h"}`)
	if got := look(0); got.Status != "ABORTED" || got.Stats.RecordsProcessed != 1 {
		t.Errorf("first job: %+v", got)
	}
	got := look(1)
	if got.Status != "COMPLETED" || got.Stats.Errors != 2 {
		t.Fatalf("second job: %+v", got)
	}
	const want = "recordNumber,message,apiErrorCode,statusCode\n0,A fault injected by the " +
		"sandbox.,INJECTED_FAULT,418\n1,A fault injected by the sandbox.,INJECTED_FAULT,418\n"
	if file := call(t, "GET", got.DownloadErrorURL, "", ""); file != want {
		t.Errorf("error file %q", file)
	}
}

func TestSandboxFlags(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{
		"--record-base=2":                        "--record-base",
		"--abort-job=x":                          "--abort-job",
		"--abort-job=101%":                       "--abort-job",
		"--abort-after=-1":                       "abort first 0, after -1",
		"--refuse-records=5%":                    "--refuse-records",
		"--refuse-records=1%:400:retry-after=1s": "a record has no retry-after",
		"--job-time=-1s":                         "job time",
	} {
		if code, _, stderr := runCommand(t, "", "sandbox", flag); code != exitUsage ||
			!strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", flag, code, stderr)
		}
	}
}
