package saasquatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

func TestCodesComeBeforeTheStatus(t *testing.T) {
	tests := []struct {
		status  int
		failure apiError
		keyed   bool
		outcome adapter.Outcome
		reason  mapping.Reason
	}{
		{404, apiError{APIErrorCode: "TENANT_NOT_FOUND", RSCode: "RS045"}, true, adapter.Pending,
			mapping.ReasonTenantNotFound},
		{404, apiError{RSCode: "RS045"}, true, adapter.Pending, mapping.ReasonTenantNotFound},
		{400, apiError{RSCode: "RS015"}, true, adapter.Pending, mapping.ReasonTenantNotFound},
		{404, apiError{RSCode: "RS031"}, true, adapter.Pending, mapping.ReasonTenantNotFound},
		{403, apiError{RSCode: "RS038"}, true, adapter.Pending, mapping.ReasonTenantNotFound},
		{404, apiError{RSCode: "RS042"}, true, adapter.Dead, mapping.ReasonUserNotFound},
		{404, apiError{RSCode: "RS041"}, true, adapter.Dead, mapping.ReasonUserNotFound},
		{400, apiError{RSCode: "RS050"}, true, adapter.Dead, mapping.ReasonDoNotTrack},
		{403, apiError{RSCode: "RS050"}, true, adapter.Dead, mapping.ReasonDoNotTrack},
		{409, apiError{APIErrorCode: "TENANT_NOT_FOUND"}, true, adapter.Duplicate, mapping.ReasonConflict},
		{401, apiError{RSCode: "RS045"}, true, adapter.Pending, mapping.ReasonUnauthorized},
		{503, apiError{RSCode: "RS050"}, true, adapter.Pending, mapping.ReasonServerError},
		{400, apiError{APIErrorCode: "BAD_REQUEST", RSCode: "RS033"}, true, adapter.Pending,
			mapping.ReasonRateLimited},
		{403, apiError{RSCode: "RS033"}, true, adapter.Pending, mapping.ReasonForbidden},
		{400, apiError{APIErrorCode: "BAD_REQUEST", RSCode: "RS014"}, true, adapter.Pending,
			mapping.ReasonServerError},
		{400, apiError{RSCode: "RS049"}, true, adapter.Pending, mapping.ReasonServerError},
	}
	for _, test := range tests {
		test.failure.stated = true
		got := classify(test.status, test.failure, test.keyed)
		if got.Outcome != test.outcome || got.Reason != test.reason {
			t.Errorf("%d %+v: got %v %s, want %v %s", test.status, test.failure, got.Outcome, got.Reason, test.outcome,
				test.reason)
		}
		if want := slices.Contains([]mapping.Reason{mapping.ReasonTenantNotFound, mapping.ReasonUnauthorized,
			mapping.ReasonForbidden, mapping.ReasonRateLimited}, test.reason); got.Unprocessed != want {
			t.Errorf("%d %+v: unprocessed=%t, want %t", test.status, test.failure, got.Unprocessed, want)
		}
	}
}

func TestClassifyErrors(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://host/user/secret-user", Err: &net.OpError{Op: "dial", Net: "tcp",
			Err: err}}
	}
	tests := []struct {
		err         error
		reason      mapping.Reason
		unprocessed bool // although it had a connection
	}{
		{context.DeadlineExceeded, mapping.ReasonTimeout, false},
		{&url.Error{Op: "Post", URL: "https://host/user/secret-user", Err: context.DeadlineExceeded},
			mapping.ReasonTimeout, false},
		{dial(os.ErrDeadlineExceeded), mapping.ReasonTimeout, true},
		{dial(syscall.ECONNREFUSED), mapping.ReasonNetworkError, true},
		{dial(syscall.ECONNRESET), mapping.ReasonNetworkError, true},
		{&net.OpError{Op: "proxyconnect", Net: "tcp", Err: io.EOF}, mapping.ReasonNetworkError, true},
		{&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, mapping.ReasonNetworkError, false},
		{&net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, mapping.ReasonNetworkError, false},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, mapping.ReasonTimeout, false},
		{&url.Error{Op: "Post", URL: "https://host/user/secret-user", Err: io.EOF}, mapping.ReasonNetworkError, false},
		{&net.DNSError{Err: "no such host", Name: "host", IsNotFound: true}, mapping.ReasonNetworkError, true},
		{errors.New("anything"), mapping.ReasonNetworkError, false},
		{fmt.Errorf("wrapped: %w", context.Canceled), mapping.ReasonNetworkError, false},
	}
	for _, test := range tests {
		got := classifyError(test.err, phaseSent)
		if got.Outcome != adapter.Pending || got.Reason != test.reason || got.Detail == "" ||
			got.Unprocessed != test.unprocessed {
			t.Errorf("%v: got %+v, want pending %s unprocessed=%t", test.err, got, test.reason, test.unprocessed)
		}
		if strings.Contains(got.Detail, "secret-user") {
			t.Errorf("detail tells the user: %s", got.Detail)
		}
		if !classifyError(test.err, phaseStart).Unprocessed {
			t.Errorf("%v: taken for processed, though it had no connection", test.err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"7":                             7 * time.Second,
		" 7 ":                           7 * time.Second,
		"-7":                            0,
		"1.5":                           0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Sun, 01 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Sun, 01 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(value, func() time.Time { return now }); got != want {
			t.Errorf("Retry-After %q: got %v, want %v", value, got, want)
		}
	}
}
