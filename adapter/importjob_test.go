package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

func TestJobStatusesHaveNames(t *testing.T) {
	for status, name := range map[adapter.JobStatus]string{adapter.JobPending: "PENDING",
		adapter.JobCompleted: "COMPLETED", adapter.JobAborted: "ABORTED"} {
		if status.String() != name || adapter.ParseJobStatus(name) != status {
			t.Errorf("%s: prints %s, read as %v", name, status, adapter.ParseJobStatus(name))
		}
	}
	for _, name := range []string{"", "pending", "RUNNING"} {
		if got := adapter.ParseJobStatus(name); got != 0 || got.Ended() {
			t.Errorf("%q read as %v", name, got)
		}
	}
	for _, status := range []adapter.JobStatus{0, 9} {
		if got, want := status.String(), fmt.Sprintf("JobStatus(%d)", uint8(status)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestTenantModesHaveNames(t *testing.T) {
	if got := fmt.Sprint(adapter.TenantMode(0), adapter.TenantTest, adapter.TenantLive); got != "unknown test live" {
		t.Errorf("got %s", got)
	}
}

func TestAPIError(t *testing.T) {
	for _, test := range []struct {
		err  adapter.APIError
		want string
	}{
		{adapter.APIError{Op: "do it", Reason: mapping.ReasonRefused, Status: 400, Code: "BAD_REQUEST",
			RSCode: "RS001", Message: "No."}, "do it: HTTP 400 BAD_REQUEST RS001 No."},
		{adapter.APIError{Op: "do it", Reason: mapping.ReasonRefused}, "do it: refused"},
		{adapter.APIError{Op: "do it", Reason: mapping.ReasonTimeout, Message: "late", Err: context.DeadlineExceeded},
			"do it: late"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
		if errors.Is(&test.err, context.DeadlineExceeded) != (test.err.Err != nil) {
			t.Errorf("%v does not unwrap", &test.err)
		}
		if test.err.Unprocessed = true; test.err.Ambiguous() {
			t.Errorf("%v: ambiguous although unprocessed", &test.err)
		}
	}
}
