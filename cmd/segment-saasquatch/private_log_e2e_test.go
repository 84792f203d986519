package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLogHoldsNoValues sends events with a mark in every value but the type, the name and the messageId. The events
// fail in all ways. Neither the log nor the audit lines of operators contain the mark.
func TestLogHoldsNoValues(t *testing.T) {
	const mark = "qxzmark@example.com"
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		message := strings.ReplaceAll(string(body), `"`, `\"`)
		var status int
		var form string
		kind := string(body)[strings.Index(string(body), `"key":"`)+len(`"key":"`):]
		if _, err := fmt.Sscanf(kind, "answer_%d_%s", &status, &form); err != nil {
			status, form = 400, "error" // to an upsert
		}
		switch form = strings.TrimRight(strings.SplitN(form, `"`, 2)[0], ","); form {
		case "error":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"statusCode":%d,"apiErrorCode":"BAD","message":"%s refuses %s"}`, status,
				r.URL.Path, message)
		case "page":
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<p>%s: %s</p>", r.RequestURI, body)
		case "reset":
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(upstream.Close)

	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(`
users:
  segments: type = "identify" ? $error(userId)
events:
  transform: |
    key = "expression_error" ? $error("no plan: " & $string($))
    : key = "expression_assert" ? $assert(false, fields.secret)
    : key = "expression_number" ? $number(fields.secret)
    : key = "expression_key" ? {"key": fields.secret & "\n"}
    : $
`), 0o600); err != nil {
		t.Fatal(err)
	}
	event := func(kind, name string) string {
		return fmt.Sprintf(`{"type":%q,"event":%q,"messageId":"message-%s","userId":%[4]q,"anonymousId":%[4]q,
			"properties":{"secret":%[4]q,"list":[%[4]q],"object":{"a":%[4]q}},"traits":{"email":%[4]q},
			"context":{"ip":%[4]q,"page":{"url":%[4]q}}}`,
			kind, name, strings.ReplaceAll(name, " ", "-"), mark)
	}
	events := []string{
		event("identify", "identify"), event("page", "page"), event("track", " "), event("track", "ü"),
		`{"type":"track","event":"E","userId":"` + strings.Repeat(mark, 100) + `"}`,
		`{"type":"track","event":"E","userId":"` + mark + `\u0000"}`,
		`{"type":"track","event":"E","userId":"u","userId":"` + mark + `"}`,
		`{"type":"track","event":"E","userId":"u","properties":{"a":[["` + mark + `"]]}}`,
		`{"type":"track","event":"E","userId":"u","properties":{"a":` + strings.Repeat("[", 100) + `"` + mark + `"` +
			strings.Repeat("]", 100) + `}}`,
		`{"type":"track","event":"E","userId":["` + mark + `"]}`,
		`{"json":"` + mark + `"}`, `{"batch":["` + mark + `"]}`, `"` + mark + `"`,
		`{"type":null,"userId":"` + mark + `"}`,
		`{"type":"track","event":"E","userId":"` + mark + `\ud800"}`,
	}
	for _, name := range []string{
		"expression error", "expression assert", "expression number", "expression key",
		"answer 200 page", "answer 400 error", "answer 400 page", "answer 401 error", "answer 403 page",
		"answer 404 error", "answer 404 page",
		"answer 409 error", "answer 422 error", "answer 429 error", "answer 302 page", "answer 500 error",
		"answer 502 page", "answer 100 reset",
	} {
		events = append(events, event("track", name))
	}
	for _, delivery := range []string{"direct", "durable"} {
		t.Run(delivery, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, upstream.URL, []string{
				"DELIVERY=" + delivery, "DATA_DIR=" + t.TempDir(), "ANSWER_BUDGET=500ms",
				"ADMIN_LISTEN_ADDR=127.0.0.1:0",
				"ADMIN_TOKEN=" + adminToken, "LOG_LEVEL=info",
			}, "--config", config)
			for _, text := range append(events, "["+strings.Join(events, ",")+"]",
				`{"type":"track","userId":"`+mark+`"`, mark, "["+mark+"]") {
				post(t, s.url, testSecret, []byte(text), []byte(text))
			}
			post(t, s.url, "wrong", []byte(events[0]), []byte(events[0]))
			admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
			for _, path := range []string{"/admin/v1/deliveries?user=" + mark, "/admin/v1/deliveries/" + mark,
				"/admin/v1/stats?user=" + mark, "/admin/v1/" + mark} {
				for _, token := range []string{adminToken, "wrong"} {
					request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					request.Header.Set("Authorization", "Bearer "+token)
					answer, err := http.DefaultClient.Do(request)
					if err != nil {
						t.Fatal(err)
					}
					answer.Body.Close()
				}
			}
			if delivery == "durable" {
				s.stderr.await(t, `"reason":"expression_failed"`)
			}
			if err := s.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			s.wait()
			for line := range strings.Lines(s.stderr.String()) {
				if strings.Contains(line, "qxzmark") {
					t.Errorf("a value shows: %s", line)
				}
			}
			want := []string{`"reason":"refused"`, `"reason":"expression_failed"`, `"reason":"invalid_json"`}
			if delivery == "durable" {
				want = append(want, `"action":"list","filter":["user"]`)
			}
			for _, want := range want {
				if !strings.Contains(s.stderr.String(), want) {
					t.Errorf("no %s in the log", want)
				}
			}
		})
	}
}
