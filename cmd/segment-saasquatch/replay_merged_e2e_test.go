package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// refusing is a proxy before a sandbox. While a test asks for it, the proxy refuses upserts.
type refusing struct {
	*httptest.Server
	refuses atomic.Bool
}

func startRefusing(t *testing.T, sandbox string) *refusing {
	t.Helper()
	target, err := url.Parse(sandbox)
	if err != nil {
		t.Fatal(err)
	}
	r, proxy := &refusing{}, httputil.NewSingleHostReverseProxy(target)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if r.refuses.Load() && request.Method == http.MethodPut {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"statusCode":400,"message":"no","apiErrorCode":"BAD_REQUEST"}`)
			return
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

// TestMergedUpsertsDieAndAreRedriven replays identify calls whose newest call came live, with messageIds of every
// kind. The merged upserts are refused, redriven, and known as delivered in a second replay.
func TestMergedUpsertsDieAndAreRedriven(t *testing.T) {
	t.Parallel()
	messageIDs := []string{
		`"message-1"`, `"short"`, `12345678`, `""`, `null`, `"` + strings.Repeat("long", 200) + `"`, `"a\u0000b"`,
	}
	users := len(messageIDs)
	at := func(hours int) string {
		return time.Now().Add(-time.Duration(hours) * time.Hour).UTC().Format(time.RFC3339)
	}
	var older, newest []string
	for user, id := range messageIDs {
		older = append(older, fmt.Sprintf(`{"type":"identify","userId":"u%d","messageId":"older-%d",`+
			`"timestamp":%q,"traits":{"a":"1"}}`, user, user, at(3)))
		newest = append(newest, fmt.Sprintf(`{"type":"identify","userId":"u%d","messageId":%s,"timestamp":%q,`+
			`"traits":{"b":"2"}}`, user, id, at(2)))
	}
	file := writeEvents(t, strings.Join(append(older, newest...), "\n")+"\n")
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			sandbox, dir := startSandbox(t), t.TempDir()
			upstream := startRefusing(t, sandbox)
			env := []string{"DATA_DIR=" + dir}
			if engine == "postgres" {
				env = append(env, "STORE="+newDatabase(t))
			}
			s := startDurable(t, upstream.URL, dir,
				append(env, "ADMIN_LISTEN_ADDR=127.0.0.1:0", "ADMIN_TOKEN="+adminToken)...)
			admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
			postRaw(t, s.url, testSecret, []byte("["+strings.Join(newest, ",")+"]"))
			awaitDrained(t, env, time.Minute)

			replaying := append(replayEnv(upstream.URL, dir), env...)
			args := []string{"--server", admin, "--yes", file}
			upstream.refuses.Store(true)
			code, report := runReplay(t, replaying, nil, args...)
			if want := fmt.Sprintf("%d skipped identify_superseded, %d dead refused", users,
				users); code != exitFailed || report.reasonsOf() != want {
				t.Errorf("refused: exit code %d: %s, want %s", code, report.reasonsOf(), want)
			}
			upstream.refuses.Store(false)
			if code, out, stderr := deliveries(t, replaying, "redrive", "--server", admin, "--outcome", "dead",
				"--yes"); code != exitOK {
				t.Errorf("redrive: exit code %d %s %s", code, out, stderr)
			}
			awaitDrained(t, env, time.Minute)
			for user, id := range messageIDs {
				if u := lookUp(t, sandbox, fmt.Sprintf("u%d", user)); u.CustomFields["a"] != "1" ||
					u.CustomFields["b"] != "2" {
					t.Errorf("messageId %.20s: the user is %+v", id, u)
				}
			}
			code, report = runReplay(t, replaying, nil, args...)
			if want := fmt.Sprintf("%d duplicate already_delivered, %d skipped identify_superseded", users,
				users); code != exitOK || report.reasonsOf() != want {
				t.Errorf("again: exit code %d: %s, want %s", code, report.reasonsOf(), want)
			}
			checkConservation(t, env)
		})
	}
}
