package saasquatch

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// fileAt returns a job with both files at the URL.
func fileAt(url string) adapter.ImportJob {
	return adapter.ImportJob{ResultsURL: adapter.NewSecret(url), ErrorsURL: adapter.NewSecret(url)}
}

// downloadErrors returns all records and the error.
func downloadErrors(t *testing.T, importer *Importer, job adapter.ImportJob) (all []adapter.RecordError, err error) {
	t.Helper()
	for record, recordErr := range importer.DownloadErrors(t.Context(), job) {
		if recordErr != nil {
			return all, recordErr
		}
		all = append(all, record)
	}
	return all, nil
}

func zipped(text string) string {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	_, _ = io.WriteString(zip, text)
	_ = zip.Close()
	return out.String()
}

func TestDownloadErrors(t *testing.T) {
	missing := adapter.RecordError{Record: 2, Message: "requires a valid non-empty id", APIErrorCode: "BAD_REQUEST",
		StatusCode: 400}
	two := []adapter.RecordError{missing, {Record: 7, Message: `says "no", twice`, APIErrorCode: "CONFLICT",
		StatusCode: 409, RSCode: "RS999"}}
	for name, test := range map[string]struct {
		file string
		want []adapter.RecordError
	}{
		"csv": {"recordNumber,message,apiErrorCode,statusCode,rsCode\r\n2,requires a valid non-empty " +
			"id,BAD_REQUEST,400,\r\n7,\"says \"\"no\"\",\r\ntwice\",CONFLICT,409,RS999\r\n", two},
		"csv as in the example, other order": {"message, recordNumber, statusCode, apiErrorCode, rsCode, more\n" +
			`"requires a valid non-empty id", 2, 400, BAD_REQUEST` + "\n" +
			`"says ""no"", twice", 7, 409, CONFLICT, RS999, x` + "\n", two},
		"json lines": {`{"recordNumber":2,"message":"requires a valid non-empty id","apiErrorCode":"BAD_REQUEST",` +
			`"statusCode":400}` + "\n\n" +
			`{"recordNumber":"7","message":"says \"no\", twice","apiErrorCode":"CONFLICT","statusCode":409,` +
			`"rsCode":"RS999"}`, two},
		"nested json": {`{"recordNumber":2,"error":{"message":"requires a valid non-empty id",` +
			`"apiErrorCode":"BAD_REQUEST","statusCode":400}}`, []adapter.RecordError{missing}},
		"flat json": {"\ufeff\n" + `{"recordNumber":2,"error.message":"requires a valid non-empty id",` +
			`"error.apiErrorCode":"BAD_REQUEST","error.statusCode":400}`, []adapter.RecordError{missing}},
		"with a mark": {"\ufeffrecordNumber,message\n2,m\n", []adapter.RecordError{{Record: 2, Message: "m"}}},
		"unprintable": {`{"recordNumber":0,"message":"a\u001b[31m\nb` + strings.Repeat("é", 500) + `"}`,
			[]adapter.RecordError{{Record: 0, Message: "a [31m b" + strings.Repeat("é", 146) + "…"}}},
		"no numbers": {`{"recordNumber":null,"statusCode":"x"}` + "\n" + `{"recordNumber":-5,"statusCode":99999}`,
			[]adapter.RecordError{{Record: -1}, {Record: -1}}},
		"empty":       {"", nil},
		"header only": {"recordNumber,message\n", nil},
	} {
		for _, file := range []string{test.file, zipped(test.file)} {
			importer := newImporter(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, file) })
			got, err := downloadErrors(t, importer, fileAt("/file"))
			if !reflect.DeepEqual(got, test.want) || err != nil {
				t.Errorf("%s:\n got %+v, %v\nwant %+v", name, got, err, test.want)
			}
		}
	}
}

func TestDownloadResults(t *testing.T) {
	want := []adapter.ImportedEvent{
		{UserID: " u,1", AccountID: "a", EventID: "e1", Key: "purchase", DateTriggered: 1538496397475, Timed: true},
		{UserID: "u2", AccountID: "a2", EventID: "e2", Key: "k"},
	}
	for name, file := range map[string]string{
		"csv": "user.accountId,user.id,event.id,event.key,event.dateTriggered," +
			"event.dateReceived,event.dateProcessed,event.fields\n" +
			"a,\" u,1\",e1,purchase,1538496397475,1,2,\"{\"\"a\"\":\"\"b\nc\"\"}\"\na2,u2,e2,k,,1,2,{}\n",
		"dates in words": "user.accountId,user.id,event.id,event.key,event.dateTriggered\na,\" " +
			"u,1\",e1,purchase,2018-10-02T16:06:37.475Z\na2,u2,e2,k,never\n",
		"nested json": `{"user":{"id":" u,1","accountId":"a"},"event":{"id":"e1","key":"purchase",` +
			`"dateTriggered":1538496397475,"fields":{"key":"no"}}}` + "\n" +
			`{"user":{"id":"u2","accountId":"a2"},"event":{"id":"e2","key":"k","dateTriggered":null}}` + "\n",
		"flat json": `{"user.id":" u,1","user.accountId":"a","event.id":"e1","event.key":"purchase",` +
			`"event.dateTriggered":1.538496397475e12}` + "\n" +
			`{"userId":"u2","accountId":"a2","event":{"id":"e2","key":"k"}}`,
	} {
		importer := newImporter(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, file) })
		var got []adapter.ImportedEvent
		for event, err := range importer.DownloadResults(t.Context(), fileAt("/file")) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got = append(got, event)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
}

// TestBadFiles checks that a download yields the rows before a fault, and an error without the text of the file.
func TestBadFiles(t *testing.T) {
	const secret = "secret-user"
	long := strings.Repeat("x", maxRow+1<<20)
	for name, test := range map[string]struct {
		file string
		rows int
		text string
	}{
		"another file":   {"<html>" + secret + "</html>", 0, "column recordNumber"},
		"a json array":   {`[{"recordNumber":1}]`, 0, "column recordNumber"},
		"broken json":    {`{"recordNumber":1}` + "\n" + `{"recordNumber":"` + secret, 1, "line 2: is no JSON object"},
		"other json":     {`{"recordNumber":1}` + "\n5\n", 1, "line 2"},
		"json null":      {`{"recordNumber":1}` + "\nnull\n", 1, "line 2"},
		"broken csv":     {"recordNumber,message\n1,a\n2,\"" + secret + "\" x\n", 1, "line 3"},
		"open quote":     {"recordNumber,message\n1,a\n2,\"" + secret, 1, "line 3"},
		"long json line": {`{"recordNumber":1}` + "\n" + `{"message":"` + long + `"}`, 1, "longer than"},
		"long csv line":  {"recordNumber,message\n1,a\n2," + long, 1, "longer than"},
		"long csv quote": {"recordNumber,message\n1,a\n2,\"" + strings.Repeat("x\n", len(long)/2), 1, "longer than"},
		"broken gzip":    {"\x1f\x8b" + secret, 0, "gzip"},
		"cut gzip":       {zipped("recordNumber,message\n1,a\n")[:30], 0, "unexpected EOF"},
	} {
		importer := newImporter(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, test.file)
		})
		got, err := downloadErrors(t, importer, fileAt("/file"))
		if len(got) != test.rows || err == nil || !strings.Contains(err.Error(), test.text) ||
			strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %d rows, %v", name, len(got), err)
		}
	}
}

// TestDownloadThatBreaksOff checks that a truncated file does not pass for a whole one.
func TestDownloadThatBreaksOff(t *testing.T) {
	for name, file := range map[string]string{
		"json":                      `{"recordNumber":1}` + "\n" + `{"recordNumber":2,"mess`,
		"json at the end of a line": `{"recordNumber":1}` + "\n",
		"csv":                       "recordNumber,message\n1,a\n2,b",
	} {
		importer := newImporter(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, file)
		})
		got, err := downloadErrors(t, importer, fileAt("/file"))
		if len(got) != 1 || kind(t, err) != "retryable" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestDownloadThatStalls(t *testing.T) {
	release := make(chan struct{})
	importer := newImporter(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"recordNumber":1}`+"\n")
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	importer.stallTimeout = 50 * time.Millisecond
	_, err := downloadErrors(t, importer, fileAt("/file"))
	var failure *adapter.APIError
	if !errors.As(err, &failure) || failure.Reason != mapping.ReasonTimeout || !failure.Retryable {
		t.Errorf("got %v", err)
	}
}

func TestDownloadThatIsLeft(t *testing.T) {
	importer := newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, `{"recordNumber":1}`+"\n"); err != nil {
				return
			}
		}
	})
	for range importer.DownloadErrors(t.Context(), fileAt("/file")) {
		break
	}
}

func TestNoFile(t *testing.T) {
	importer := newImporter(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was made") })
	if _, err := downloadErrors(t, importer, adapter.ImportJob{}); !errors.Is(err, adapter.ErrNoFile) {
		t.Errorf("got %v", err)
	}
	for _, err := range importer.DownloadResults(t.Context(), adapter.ImportJob{}) {
		if !errors.Is(err, adapter.ErrNoFile) {
			t.Errorf("got %v", err)
		}
	}
}

func TestDownloadAnswers(t *testing.T) {
	for status, want := range map[int]string{
		204: "retryable", 206: "retryable", 304: "refused", 400: "refused", 401: "misconfigured", 403: "misconfigured",
		404: "refused",
		410: "refused", 429: "retryable", 500: "retryable", 503: "retryable",
	} {
		here := newImporter(t, answer(status, "<Error>x</Error>"))
		if _, err := downloadErrors(t, here, fileAt("/file")); kind(t, err) != want {
			t.Errorf("%d from SaaSquatch: %v", status, err)
		}
		storage := httptest.NewServer(answer(status, "<Error>x</Error>"))
		if want == "misconfigured" { // an old link says nothing of the key
			want = "refused"
		}
		if _, err := downloadErrors(t, here, fileAt(storage.URL)); kind(t, err) != want {
			t.Errorf("%d from another host: %v", status, err)
		}
		storage.Close()
	}
}

// TestCredentialsStayHere checks that no host but SaaSquatch's gets the key, by any way of a download. After a
// redirect to another host not even SaaSquatch's gets it.
func TestCredentialsStayHere(t *testing.T) {
	const file = "recordNumber\n1\n"
	var seen []string
	see := func(where string, r *http.Request) {
		_, password, _ := r.BasicAuth()
		seen = append(seen, fmt.Sprintf("%s%s:%t", where, r.URL.Path, password == testKey ||
			strings.Contains(fmt.Sprint(r.Header, r.URL), testKey)))
		if r.Header.Get("Authorization") != "" && password != testKey {
			seen = append(seen, "another Authorization")
		}
	}
	var hereURL, storageURL string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		see("storage", r)
		if r.URL.Path == "/back" {
			http.Redirect(w, r, hereURL+"/file", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, file)
	}))
	defer storage.Close()
	storageURL = storage.URL
	importer := newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		see("here", r)
		switch r.URL.Path {
		case "/file":
			_, _ = io.WriteString(w, file)
		case "/moved":
			http.Redirect(w, r, "/file", http.StatusMovedPermanently)
		case "/out":
			http.Redirect(w, r, storageURL+"/signed", http.StatusTemporaryRedirect)
		case "/out-and-back":
			http.Redirect(w, r, storageURL+"/back", http.StatusTemporaryRedirect)
		}
	})
	hereURL = importer.base.String()
	for link, want := range map[string]string{
		"/file":                "[here/file:true]",
		hereURL + "/file":      "[here/file:true]",
		"/moved":               "[here/moved:true here/file:true]",
		storageURL + "/signed": "[storage/signed:false]",
		"/out":                 "[here/out:true storage/signed:false]",
		"/out-and-back":        "[here/out-and-back:true storage/back:false here/file:false]",
		strings.TrimPrefix(storageURL, "http:") + "/signed": "[storage/signed:false]",
	} {
		seen = nil
		got, err := downloadErrors(t, importer, fileAt(link))
		if fmt.Sprint(seen) != want || len(got) != 1 || err != nil {
			t.Errorf("%s: %v, want %s; %v, %v", link, seen, want, got, err)
		}
	}
}

func TestRedirectsOfDownloads(t *testing.T) {
	requests := 0
	importer := newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		switch r.URL.Path {
		case "/nowhere":
			w.WriteHeader(http.StatusFound)
		case "/unsafe":
			w.Header().Set("Location", "http://192.0.2.1/secret-link")
			w.WriteHeader(http.StatusFound)
		default:
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		}
	})
	if _, err := downloadErrors(t, importer, fileAt("/x")); kind(t, err) != "refused" || requests != 4 {
		t.Errorf("%d requests, %v", requests, err)
	}
	if _, err := downloadErrors(t, importer, fileAt("/unsafe")); !errors.Is(err, ErrUnsafeLink) ||
		strings.Contains(err.Error(), "secret-link") {
		t.Errorf("unsafe: %v", err)
	}
	if _, err := downloadErrors(t, importer, fileAt("/nowhere")); kind(t, err) != "refused" {
		t.Errorf("nowhere: %v", err)
	}
}

func TestUnsafeLinks(t *testing.T) {
	const tls, plain = "https://app.example.com", "http://127.0.0.1:1"
	for _, test := range []struct {
		base, link string
		safe       bool
	}{
		{tls, "https://storage.example.com/x?sig=1", true},
		{tls, "/x", true},
		{tls, "//storage.example.com/x", true},
		{tls, "http://app.example.com/x", false},
		{tls, "http://127.0.0.1/x", false},
		{tls, "ftp://storage.example.com/x", false},
		{tls, "https://user:pass@storage.example.com/x", false},
		{tls, "https:x", false},
		{tls, "https:///x", false},
		{tls, "javascript:x", false},
		{tls, "file:///etc/passwd", false},
		{plain, "http://127.0.0.1:2/x", true},
		{plain, "http://localhost/x", true},
		{plain, "http://[::1]/x", true},
		{plain, "https://storage.example.com/x", true},
		{plain, "http://storage.example.com/x", false},
		{"http://storage.example.com", "http://storage.example.com/x", false},
	} {
		importer := newImporterOf(t, Options{BaseURL: test.base})
		target, err := importer.base.Parse(test.link)
		if got := err == nil && importer.safe(target); got != test.safe {
			t.Errorf("%s from %s: safe=%t", test.link, test.base, got)
		}
	}
	importer := newImporterOf(t, Options{BaseURL: tls})
	for _, link := range []string{"http://app.example.com/secret-link", "https://%zz/secret-link"} {
		if _, err := downloadErrors(t, importer, fileAt(link)); !errors.Is(err, ErrUnsafeLink) ||
			strings.Contains(err.Error(), "secret-link") {
			t.Errorf("%s: %v", link, err)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	importer := newImporterOf(t, Options{BaseURL: "https://app.example.com"})
	for link, want := range map[string]bool{
		"https://app.example.com/x":     true,
		"https://APP.example.com:443/x": true,
		"https://app.example.com:444/x": false,
		"https://app.example.com.evil":  false,
		"https://evil/app.example.com":  false,
		"http://app.example.com":        false,
	} {
		target, err := importer.base.Parse(link)
		if err != nil || importer.isHere(target) != want {
			t.Errorf("%s: %t (%v)", link, !want, err)
		}
	}
}
