package saasquatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"segment-saasquatch/adapter"
)

// TestClassifyEveryStatus checks the verdict on every status, with and without a key.
func TestClassifyEveryStatus(t *testing.T) {
	for status := 200; status <= 599; status++ {
		for _, keyed := range []bool{true, false} {
			outcome, reason, misconfigured := wantVerdict(status, keyed)
			got := classify(status, apiError{}, keyed)
			if got.Outcome != outcome || got.Reason != reason || got.Misconfigured != misconfigured || got.Status != status {
				t.Errorf("%d keyed=%t: got %v %s misconfigured=%t, want %v %s misconfigured=%t",
					status, keyed, got.Outcome, got.Reason, got.Misconfigured, outcome, reason, misconfigured)
			}
		}
	}
}

func wantVerdict(status int, keyed bool) (adapter.Outcome, adapter.Reason, bool) {
	special := map[int]struct {
		outcome       adapter.Outcome
		reason        adapter.Reason
		misconfigured bool
	}{
		401: {adapter.Pending, adapter.ReasonUnauthorized, true},
		403: {adapter.Pending, adapter.ReasonForbidden, true},
		404: {adapter.Dead, adapter.ReasonUserNotFound, false},
		408: {adapter.Pending, adapter.ReasonTimeout, false},
		409: {adapter.Dead, adapter.ReasonConflictWithoutKey, false},
		425: {adapter.Pending, adapter.ReasonTimeout, false},
		429: {adapter.Pending, adapter.ReasonRateLimited, false},
	}
	if keyed && status == 409 {
		return adapter.Duplicate, adapter.ReasonConflict, false
	}
	if want, ok := special[status]; ok {
		return want.outcome, want.reason, want.misconfigured
	}
	switch status / 100 {
	case 2:
		return adapter.Delivered, "", false
	case 3:
		return adapter.Pending, adapter.ReasonRedirected, true
	case 4:
		return adapter.Dead, adapter.ReasonRefused, false
	default:
		return adapter.Pending, adapter.ReasonServerError, false
	}
}

func TestCodesComeBeforeTheStatus(t *testing.T) {
	tests := []struct {
		status  int
		failure apiError
		keyed   bool
		outcome adapter.Outcome
		reason  adapter.Reason
	}{
		{404, apiError{APIErrorCode: "TENANT_NOT_FOUND", RSCode: "RS045"}, true, adapter.Pending, adapter.ReasonTenantNotFound},
		{404, apiError{RSCode: "RS045"}, true, adapter.Pending, adapter.ReasonTenantNotFound},
		{400, apiError{RSCode: "RS015"}, true, adapter.Pending, adapter.ReasonTenantNotFound},
		{404, apiError{RSCode: "RS031"}, true, adapter.Pending, adapter.ReasonTenantNotFound},
		{403, apiError{RSCode: "RS038"}, true, adapter.Pending, adapter.ReasonTenantNotFound},
		{404, apiError{RSCode: "RS042"}, true, adapter.Dead, adapter.ReasonUserNotFound},
		{404, apiError{RSCode: "RS041"}, true, adapter.Dead, adapter.ReasonUserNotFound},
		{400, apiError{RSCode: "RS050"}, true, adapter.Dead, adapter.ReasonDoNotTrack},
		{403, apiError{RSCode: "RS050"}, true, adapter.Dead, adapter.ReasonDoNotTrack},
		{409, apiError{APIErrorCode: "TENANT_NOT_FOUND"}, true, adapter.Duplicate, adapter.ReasonConflict},
		{401, apiError{RSCode: "RS045"}, true, adapter.Pending, adapter.ReasonUnauthorized},
		{503, apiError{RSCode: "RS050"}, true, adapter.Pending, adapter.ReasonServerError},
	}
	for _, test := range tests {
		got := classify(test.status, test.failure, test.keyed)
		if got.Outcome != test.outcome || got.Reason != test.reason {
			t.Errorf("%d %+v: got %v %s, want %v %s", test.status, test.failure, got.Outcome, got.Reason, test.outcome, test.reason)
		}
	}
}

func TestClassifyErrors(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://host/user/secret-user", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	tests := []struct {
		err    error
		reason adapter.Reason
	}{
		{context.DeadlineExceeded, adapter.ReasonTimeout},
		{&url.Error{Op: "Post", URL: "https://host/user/secret-user", Err: context.DeadlineExceeded}, adapter.ReasonTimeout},
		{dial(os.ErrDeadlineExceeded), adapter.ReasonTimeout},
		{dial(syscall.ECONNREFUSED), adapter.ReasonNetworkError},
		{dial(syscall.ECONNRESET), adapter.ReasonNetworkError},
		{&url.Error{Op: "Post", URL: "https://host/user/secret-user", Err: io.EOF}, adapter.ReasonNetworkError},
		{&net.DNSError{Err: "no such host", Name: "host", IsNotFound: true}, adapter.ReasonNetworkError},
		{errors.New("anything"), adapter.ReasonNetworkError},
		{fmt.Errorf("wrapped: %w", context.Canceled), adapter.ReasonNetworkError},
	}
	for _, test := range tests {
		got := classifyError(test.err)
		if got.Outcome != adapter.Pending || got.Reason != test.reason || got.Detail == "" {
			t.Errorf("%v: got %+v, want pending %s", test.err, got, test.reason)
		}
		if strings.Contains(got.Detail, "secret-user") {
			t.Errorf("detail tells the user: %s", got.Detail)
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
