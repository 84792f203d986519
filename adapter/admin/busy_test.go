package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"segment-saasquatch/adapter"
)

// TestBusy asks for a long read while the store has enough of them in flight.
func TestBusy(t *testing.T) {
	url, _ := serveScripted(t, &scripted{
		verify: func() ([]adapter.Conservation, error) {
			return nil, fmt.Errorf("verify the store: %w", &adapter.BusyError{RetryAfter: 9500 * time.Millisecond})
		},
		export: func(func(*adapter.Delivery) error) error { return &adapter.BusyError{RetryAfter: time.Second} },
	})
	for path, want := range map[string]string{"verify": "10", "export": "1"} {
		response, _ := ask(t, http.MethodGet, url+"/admin/v1/"+path, "Bearer "+token, nil)
		if got := response.Header.Get("Retry-After"); response.StatusCode != http.StatusTooManyRequests ||
			got != want {
			t.Errorf("%s: %s, Retry-After %q, want %s", path, response.Status, got, want)
		}
	}
	_, err := newTestClient(t, url).Verify(context.Background())
	if busy, ok := errors.AsType[*adapter.BusyError](err); !ok || busy.RetryAfter != 10*time.Second {
		t.Errorf("got %v", err)
	}
}
