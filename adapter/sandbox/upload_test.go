package sandbox_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"segment-saasquatch/adapter/sandbox"
)

const uploadPath = "/api/v1/" + alias + "/export/upload"

// part is a part of a multipart form.
type part struct{ name, fileName, content string }

func newForm(parts ...part) *http.Request {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, p := range parts {
		// Writing to memory does not fail.
		if p.fileName == "" {
			_ = form.WriteField(p.name, p.content)
			continue
		}
		w, _ := form.CreateFormFile(p.name, p.fileName)
		_, _ = io.WriteString(w, p.content)
	}
	_ = form.Close()
	r := newRequest("POST", uploadPath, body.String())
	r.Header.Set("Content-Type", form.FormDataContentType())
	return r
}

func fileRef(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var answer struct{ FileRef string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || answer.FileRef == "" {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return answer.FileRef
}

// put uploads a file as a body.
func put(t testing.TB, s http.Handler, content string) string {
	t.Helper()
	r := newRequest("POST", uploadPath, content)
	r.Header.Set("Content-Type", "application/octet-stream")
	return fileRef(t, do(s, r))
}

func TestUploadForms(t *testing.T) {
	const line = `{"id":"u1","accountId":"a1"}`
	for _, test := range []struct {
		name  string
		parts []part
		ref   string // what follows is hexadecimal and the extension
		fault string
	}{
		{"file", []part{{"file", "userEvents.jsonl", line}}, "userEvents.jsonl", ""},
		{"csv", []part{{"file", "userEvents.csv", line}}, "userEvents.csv", ""},
		{"among others", []part{{"x", "", "y"}, {"file", "f.jsonl", line}, {"z", "z.txt", "z"}}, "f.jsonl", ""},
		{"odd name", []part{{"file", `C:\a b/../é.jsonl`, line}}, "_.jsonl", ""},
		{"long name", []part{{"file", strings.Repeat("n", 500) + ".jsonl", line}}, strings.Repeat("n", 64) +
			".jsonl", ""},
		{"other extension", []part{{"file", "events.json", line}}, "", "must end in .jsonl or .csv"},
		{"no extension", []part{{"file", "jsonl", line}}, "", "must end in .jsonl or .csv"},
		{"other part", []part{{"upload", "f.jsonl", line}}, "", "no part named file"},
		{"two files", []part{{"file", "f.jsonl", line}, {"file", "g.jsonl", line}}, "", "two parts named file"},
		{"empty", []part{{"file", "f.jsonl", ""}}, "", "empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, open())
			w := do(s, newForm(test.parts...))
			if test.fault != "" {
				wantStatus(t, w, 400)
				if e := readError(t, w); !strings.Contains(*e.Message, test.fault) {
					t.Errorf("message %q", *e.Message)
				}
				if n := s.Stats().Uploads; n != 0 {
					t.Errorf("%d uploads", n)
				}
				return
			}
			stem, extension, _ := strings.Cut(test.ref, ".")
			want := regexp.MustCompile(`^imports/` + alias + `/` + stem + `_[0-9a-f]{24}\.` + extension + `$`)
			if ref := fileRef(t, w); !want.MatchString(ref) {
				t.Errorf("fileRef %q", ref)
			}
			if n := s.Stats().Uploads; n != 1 {
				t.Errorf("%d uploads", n)
			}
		})
	}
}

func TestUploadRefusals(t *testing.T) {
	s := newServer(t, open())
	bad := func(change func(*http.Request)) *http.Request {
		r := newForm(part{"file", "f.jsonl", "{}"})
		change(r)
		return r
	}
	for name, test := range map[string]struct {
		request *http.Request
		status  int
	}{
		"wrong key": {bad(func(r *http.Request) { r.SetBasicAuth("", "x") }), 401},
		"unknown tenant": {bad(func(r *http.Request) {
			r.URL.Path = strings.Replace(uploadPath, alias,
				"other", 1)
		}),
			404},
		"no boundary": {bad(func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data") }), 400},
		"other boundary": {bad(func(r *http.Request) {
			r.Header.Set("Content-Type",
				"multipart/form-data; boundary=x")
		}), 400},
		"mixed": {bad(func(r *http.Request) { r.Header.Set("Content-Type", "multipart/mixed; boundary=x") }),
			400},
		"cut form": {bad(func(r *http.Request) { r.Body = io.NopCloser(io.LimitReader(r.Body, 150)) }), 400},
		"broken body": {bad(func(r *http.Request) {
			r.Body = io.NopCloser(brokenBody{})
			r.Header.Set("Content-Type", "text/plain")
		}), 400},
		"empty body": {newRequest("POST", uploadPath, ""), 400},
	} {
		t.Run(name, func(t *testing.T) {
			w := do(s, test.request)
			wantStatus(t, w, test.status)
			readError(t, w)
		})
	}
	if n := s.Stats().Uploads; n != 0 {
		t.Errorf("%d uploads", n)
	}
}

var blank = strings.Repeat(" ", 64<<10)

// spaces is a body of n bytes without the memory for it.
type spaces struct{ n int64 }

func (s *spaces) Read(b []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	n := copy(b, blank[:min(int64(len(blank)), s.n)])
	s.n -= int64(n)
	return n, nil
}

func TestUploadLimit(t *testing.T) {
	s := newServer(t, open())
	for _, test := range []struct {
		size   int64
		status int
	}{{100_000_000, 200}, {100_000_001, 413}} {
		r := httptest.NewRequest("POST", uploadPath, &spaces{test.size})
		r.SetBasicAuth("", apiKey)
		w := do(s, r)
		wantStatus(t, w, test.status)
	}
	if n := s.Stats().Uploads; n != 1 {
		t.Errorf("%d uploads", n)
	}
}

// TestUploadRoom fills the sandbox's disk. Files that no job has read stay, and files of completed jobs are evicted.
func TestUploadRoom(t *testing.T) {
	options := open()
	options.MaxDisk = 1000
	s := newServer(t, options)
	upload := func() *httptest.ResponseRecorder {
		return do(s, newForm(part{"file", "f.jsonl", "{}" + strings.Repeat(" ", 240)}))
	}
	used := fileRef(t, upload())
	for range 3 {
		fileRef(t, upload())
	}
	wantStatus(t, upload(), 503)
	// The result of one line with an error does not fit.
	if job := poll(t, s, create(t, s, eventsOf(used))); job.Status != "ABORTED" {
		t.Errorf("job: %+v", job)
	}
	fileRef(t, upload()) // in place of the first
	wantStatus(t, upload(), 503)
	if answer := query(t, s, createJob, eventsOf(used)); len(answer.Errors) != 1 {
		t.Errorf("a job on a file that is gone: %+v", answer)
	}
	s.Reset()

	used = fileRef(t, upload())
	job := poll(t, s, create(t, s, eventsOf(used)))
	if job.Status != "COMPLETED" {
		t.Errorf("job: %+v", job)
	}
	for range 3 {
		fileRef(t, upload())
	}
	wantStatus(t, fetch(s, *job.DownloadFileRefURL), 410)
	wantStatus(t, fetch(s, *job.DownloadErrorURL), 200)
	wantStatus(t, fetch(s, *job.DownloadURL), 200)
}

// TestManyJobs makes more files than the sandbox keeps open.
func TestManyJobs(t *testing.T) {
	s := newServer(t, open())
	var first job
	for i := range 400 {
		got := poll(t, s, create(t, s, eventsOf(put(t, s, eventLine("u1", "")))))
		if got.Status != "COMPLETED" || got.Stats.Errors != 0 {
			t.Fatalf("job %d: %+v", i, got)
		}
		if i == 0 {
			first = got
		}
		wantStatus(t, fetch(s, *got.DownloadURL), 200)
	}
	wantStatus(t, fetch(s, *first.DownloadURL), 410)
}

func TestUploadAfterClose(t *testing.T) {
	s := newServer(t, open())
	ref := put(t, s, eventLine("u1", "key-0001"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, do(s, newForm(part{"file", "f.jsonl", "{}"})), 503)
	if answer := query(t, s, createJob, eventsOf(ref)); len(answer.Errors) != 1 {
		t.Errorf("a job on a file that is gone: %+v", answer)
	}
	wantStatus(t, send(s, "POST", events, eventBody("")), 200)
}

// TestUploadFaults checks that faults come before and after the processing of an upload, and that the client of a
// large upload receives them.
func TestUploadFaults(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%v", after), func(t *testing.T) {
			s := newServer(t,
				withFaults(sandbox.Faults{Fail: []sandbox.FailRule{{Rate: 1, Status: 503, After: after}}}))
			server := httptest.NewServer(s)
			defer server.Close()
			r, err := http.NewRequest("POST", server.URL+uploadPath, &spaces{30_000_000})
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("", apiKey)
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != 503 {
				t.Errorf("status %d", response.StatusCode)
			}
			if n := s.Stats().Uploads; (n == 1) != after {
				t.Errorf("%d uploads", n)
			}
		})
	}
	s := newServer(t, withFaults(sandbox.Faults{ResetRate: 1, Lost: sandbox.Before}))
	server := httptest.NewServer(s)
	defer server.Close()
	r := newForm(part{"file", "f.jsonl", "{}"})
	r.RequestURI = ""
	r.URL.Scheme, r.URL.Host, _ = strings.Cut(server.URL, "://")
	if response, err := server.Client().Do(r); err == nil {
		response.Body.Close()
		t.Errorf("status %d", response.StatusCode)
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut instead of reset: %v", err)
	}
}
