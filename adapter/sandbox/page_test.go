package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/sandbox"
)

func sendAs(s *sandbox.Server, userID, key, idempotencyKey string) int {
	body, _ := json.Marshal(map[string]any{
		"userId": userID, "accountId": "a1", "idempotencyKey": idempotencyKey,
		"events": []any{map[string]any{"key": key, "fields": map[string]any{"note": `<script>alert("x")</script>`}}},
	})
	path := strings.Replace(events, "/u1/", "/"+escape(userID)+"/", 1)
	return send(s, "POST", path, string(body)).Code
}

// escape escapes every byte.
func escape(text string) string {
	var out strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&out, "%%%02X", text[i])
	}
	return out.String()
}

func TestEventsPage(t *testing.T) {
	s := newServer(t, open())
	for i := range 150 {
		if status := sendAs(s, fmt.Sprint("u", i%3), fmt.Sprint("k", i%2),
			fmt.Sprintf("key-%06d", i)); status != 200 {
			t.Fatal(status)
		}
	}
	for _, test := range []struct {
		query string
		count int
		first uint64
	}{
		{"", 100, 51},
		{"?limit=2", 2, 149},
		{"?limit=1000", 150, 1},
		{"?key=k1&user=u2&limit=1000", 25, 6},
		{"?key=none", 0, 0},
	} {
		w := send(s, "GET", "/_sandbox/events"+test.query, "")
		wantStatus(t, w, 200)
		var got struct{ Events []sandbox.Event }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Events == nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		if len(got.Events) != test.count || test.count > 0 && got.Events[0].Seq != test.first {
			t.Errorf("%q: %d events, first %d", test.query, len(got.Events), got.Events[0].Seq)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=x", "?limit=-1"} {
		wantStatus(t, send(s, "GET", "/_sandbox/events"+query, ""), 400)
	}

	r := httptest.NewRequest("GET", "/_sandbox/events?limit=3", nil)
	r.Header.Set("Accept", "application/x-ndjson")
	w := do(s, r)
	if lines := strings.Count(w.Body.String(), "\n"); lines != 3 ||
		w.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d lines of %s", lines, w.Header().Get("Content-Type"))
	}
}

func TestStatsPage(t *testing.T) {
	s := newServer(t, open())
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 409)
	w := send(s, "GET", "/_sandbox/stats", "")
	var got sandbox.Stats
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(s.Stats()) || got.Conflicts != 1 || got.ByStatus[409] != 1 {
		t.Errorf("got  %+v\nwant %+v", got, s.Stats())
	}
}

func TestControls(t *testing.T) {
	s := newServer(t, open())
	for _, path := range []string{"/_sandbox/reset", "/_sandbox/clock", "/_sandbox/do-not-track"} {
		for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded",
			"multipart/form-data; boundary=application/json"} {
			r := newRequest("POST", path, `{"advance":"1h"}`)
			r.Header.Set("Content-Type", contentType)
			wantStatus(t, do(s, r), 415)
		}
		wantStatus(t, send(s, "GET", path, ""), 404)
	}
	for _, body := range []string{"", "{}", "[]", `{"advance":1}`, `{"advance":"-1h"}`, `{"advance":"x"}`,
		`{"advance":"999999h"}`, `{"advance":"1h","x":1}`, strings.Repeat(" ", 5000) + `{"advance":"1h"}`} {
		wantStatus(t, send(s, "POST", "/_sandbox/clock", body), 400)
	}
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	before := s.Stats().Now
	w := send(s, "POST", "/_sandbox/clock", `{"advance":"25h"}`)
	wantStatus(t, w, 200)
	var got struct{ Now time.Time }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !got.Now.Equal(before.Add(25*time.Hour)) {
		t.Errorf("now %v, %v", got.Now, err)
	}
	wantStatus(t, send(s, "POST", events, eventBody("key-0001")), 200)
	wantStatus(t, send(s, "POST", "/_sandbox/reset", ""), 200)
	if n := len(s.Events()); n != 0 {
		t.Errorf("%d events are left", n)
	}
}

func TestHTMLPage(t *testing.T) {
	s := newServer(t, open())
	wantStatus(t, send(s, "GET", "/_sandbox", ""), 302)
	if body := send(s, "GET", "/_sandbox/", "").Body.String(); !strings.Contains(body, "None yet.") {
		t.Error("the empty page does not say so")
	}
	if status := sendAs(s, `"><img src=x onerror=alert(1)>`, `<b>bold</b>`, "key-0001"); status != 200 {
		t.Fatal(status)
	}
	wantStatus(t, send(s, "POST", events, eventBody("")), 200)
	send(s, "GET", "/<svg/onload=x>", "")
	w := send(s, "GET", "/_sandbox/", "")
	wantStatus(t, w, 200)
	body := w.Body.String()
	for _, forbidden := range []string{"<b>bold", "<img", "<script", "<svg", apiKey, "http://", "https://"} {
		if strings.Contains(body, forbidden) {
			t.Errorf("the page holds %q", forbidden)
		}
	}
	for _, wanted := range []string{"&lt;b&gt;bold", "signedUp", "2018-10-02 16:06:37.475", "key-0001",
		`&#34;plan&#34;:&#34;pro&#34;`, "Unexpected requests", "%3Csvg"} {
		if !strings.Contains(body, wanted) {
			t.Errorf("the page lacks %q", wanted)
		}
	}
	if strings.Index(body, "signedUp") > strings.Index(body, "bold") {
		t.Error("the newest event is not first")
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("CSP %q", csp)
	}
	body = send(s, "GET", "/_sandbox/?key=signedUp", "").Body.String()
	if strings.Contains(body, "bold") || !strings.Contains(body, "show all") {
		t.Error("the page is not filtered")
	}
	wantStatus(t, send(s, "GET", "/_sandbox/?limit=x", ""), 400)
}
