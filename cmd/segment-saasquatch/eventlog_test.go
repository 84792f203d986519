package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestManyRejectedEvents rejects thousands of events of a small request. The log has few lines, and the metrics count
// every event.
func TestManyRejectedEvents(t *testing.T) {
	t.Parallel()
	for _, delivery := range []string{"durable", "direct"} {
		s := startServer(t, startSandbox(t), []string{"DELIVERY=" + delivery, "DATA_DIR=" + t.TempDir(),
			"ADMIN_LISTEN_ADDR=127.0.0.1:0"})
		admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
		body := []byte("[" + strings.TrimSuffix(strings.Repeat("{},", 5000), ",") + "]")
		if got := post(t, s.url, testSecret, body, body); got.Counts["rejected"] != 5000 {
			t.Errorf("%s: %+v", delivery, got)
		}
		s.stderr.await(t, `"msg":"request"`)
		log := s.stderr.String()
		if n := strings.Count(log, `"msg":"event"`); n != 101 {
			t.Errorf("%s: %d lines", delivery, n)
		}
		if !strings.Contains(log, `"msg":"event","connection":"default","outcome":"rejected",`+
			`"reason":"missing_type","events":4900`) {
			t.Errorf("%s: no line for the others:\n%.3000s", delivery, log)
		}
		response, err := http.Get(admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		metrics, err := io.ReadAll(response.Body)
		if want := `segment_saasquatch_events_total{connection="default",outcome="rejected",reason="missing_type"}` +
			` 5000`; err != nil || !strings.Contains(string(metrics), want) {
			t.Errorf("%s: no %s in the metrics, %v", delivery, want, err)
		}
	}
}
