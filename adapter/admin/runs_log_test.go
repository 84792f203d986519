package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/mapping"
)

// failingReplays returns one error from each method, nil for none.
type failingReplays struct{ err error }

func (f *failingReplays) BeginRun(context.Context, string, string, json.RawMessage) (*adapter.Run, error) {
	return &adapter.Run{ID: 7}, f.err
}

func (f *failingReplays) TakeRun(context.Context, int64) (*adapter.Run, []adapter.ObjectProgress, error) {
	return &adapter.Run{ID: 7}, nil, f.err
}

func (f *failingReplays) Run(context.Context, int64) (*adapter.Run, []adapter.ObjectProgress, error) {
	return &adapter.Run{ID: 7}, nil, f.err
}

func (f *failingReplays) Runs(context.Context) ([]adapter.Run, error) { return nil, f.err }

func (f *failingReplays) AcceptBatch(context.Context, *adapter.Run, *adapter.Batch) error {
	return f.err
}

func (f *failingReplays) RunState(context.Context, *adapter.Run) (*adapter.RunState, error) {
	return &adapter.RunState{}, f.err
}

func (f *failingReplays) EndRun(context.Context, *adapter.Run) error { return f.err }

func (f *failingReplays) Failures(context.Context, int64, func([]byte) error) (int64, error) {
	return 0, f.err
}

func (f *failingReplays) Known(context.Context, string, string, []adapter.Arrival) ([]mapping.Reason, error) {
	return nil, f.err
}

func (f *failingReplays) Identifies(
	context.Context, string, string, []adapter.IdentifyQuery,
) ([]adapter.KnownIdentify, error) {
	return nil, f.err
}

// runActions are all requests that a replay makes.
var runActions = []struct {
	method, path, body, action string
	audited                    bool
}{
	{http.MethodGet, "/runs", "", "list runs", true},
	{http.MethodPost, "/runs?connection=default", "{}", "begin run", true},
	{http.MethodPost, "/runs/known?connection=default", "{}", "look up events", false},
	{http.MethodPost, "/runs/identifies?connection=default", "{}", "look up identify calls", false},
	{http.MethodGet, "/runs/7", "", "show run", false},
	{http.MethodPost, "/runs/7/take", "", "take run", true},
	{http.MethodPost, "/runs/7/batch", `{"owner":"1","batch":{}}`, "accept batch", false},
	{http.MethodGet, "/runs/7/state", "", "run state", false},
	{http.MethodPost, "/runs/7/end", `{"owner":"1"}`, "end run", true},
	{http.MethodGet, "/runs/7/failures", "", "run failures", true},
}

// TestRunActionsInLog: a failed run action has a line with its name, its status and the cause. Its level is error
// where the answer points to the log.
func TestRunActionsInLog(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		status int
		level  zapcore.Level
	}{
		{"done", nil, http.StatusOK, zapcore.InfoLevel},
		{"store", errors.New("disk I/O error"), http.StatusInternalServerError, zapcore.ErrorLevel},
		{"store is down", &adapter.UnavailableError{Message: "the store does not work",
			Err: errors.New("disk I/O error")},
			http.StatusServiceUnavailable, zapcore.ErrorLevel},
		{"backlog", &adapter.UnavailableError{Message: "the backlog is full"}, http.StatusServiceUnavailable,
			zapcore.WarnLevel},
		{"no run", adapter.ErrNoRun, http.StatusNotFound, zapcore.WarnLevel},
		{"taken", adapter.ErrRunTaken, http.StatusConflict, zapcore.WarnLevel},
	} {
		core, log := observer.New(zapcore.DebugLevel)
		handler := admin.New(admin.Options{
			Replays: &failingReplays{test.err}, Tenants: map[string]string{"default": "tenant"},
			Tokens: []adapter.Secret{adapter.NewSecret(runsToken)}, Metrics: admin.NewMetrics(), Log: zap.New(core),
		})
		for _, action := range runActions {
			t.Run(test.name+"/"+action.action, func(t *testing.T) {
				answer := askForRun(t, handler, action.method, action.path, action.body)
				if answer.Code != test.status {
					t.Errorf("status %d, want %d: %s", answer.Code, test.status, answer.Body)
				}
				if strings.Contains(answer.Body.String(), "disk") {
					t.Errorf("the answer tells %s", answer.Body)
				}
				lines := log.TakeAll()
				if test.err == nil && !action.audited {
					if len(lines) > 0 {
						t.Errorf("logged %v", lines)
					}
					return
				}
				if len(lines) != 1 || lines[0].Message != "admin action" || lines[0].Level != test.level {
					t.Fatalf("logged %v, want one line at %v", lines, test.level)
				}
				fields := lines[0].ContextMap()
				if fields["action"] != action.action {
					t.Errorf("action is %v", fields["action"])
				}
				if test.err != nil && (fields["error"] != test.err.Error() || fields["status"] != int64(test.status)) {
					t.Errorf("logged %v", fields)
				}
			})
		}
	}
}

// TestWrongRunRequestsInLog: a request that no replay sends is the caller's mistake.
func TestWrongRunRequestsInLog(t *testing.T) {
	core, log := observer.New(zapcore.DebugLevel)
	handler := admin.New(admin.Options{
		Replays: &failingReplays{}, Tenants: map[string]string{"default": "tenant"},
		Tokens: []adapter.Secret{adapter.NewSecret(runsToken)}, Metrics: admin.NewMetrics(), Log: zap.New(core),
	})
	for path, status := range map[string]int{
		"/runs?connection=other": http.StatusBadRequest, "/runs/known?connection=default": http.StatusBadRequest,
		"/runs/7/batch": http.StatusBadRequest, "/runs/x/take": http.StatusNotFound,
	} {
		if answer := askForRun(t, handler, http.MethodPost, path, "{"); answer.Code != status {
			t.Errorf("%s: status %d", path, answer.Code)
		}
		lines := log.TakeAll()
		if len(lines) != 1 || lines[0].Level != zapcore.WarnLevel || lines[0].ContextMap()["error"] == nil {
			t.Errorf("%s: logged %v", path, lines)
		}
	}
	// A client that has gone reads no answer.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	request := httptest.NewRequest(http.MethodPost, "/admin/v1/runs/x/take", nil).WithContext(gone)
	request.Header.Set("Authorization", "Bearer "+runsToken)
	handler.ServeHTTP(httptest.NewRecorder(), request)
	if lines := log.TakeAll(); len(lines) != 1 || lines[0].Level != zapcore.InfoLevel {
		t.Errorf("logged %v", lines)
	}
}

func askForRun(t *testing.T, handler http.Handler, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(method, "/admin/v1"+path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+runsToken)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}
