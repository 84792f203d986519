package delivery

import (
	"testing"
	"time"
)

func TestDelayIsFullJitter(t *testing.T) {
	policy := RetryPolicy{Base: 100 * time.Millisecond, Max: 2 * time.Second, MaxRetryAfter: time.Minute}
	ceilings := []time.Duration{100, 200, 400, 800, 1600, 2000, 2000, 2000}
	for i, ceiling := range ceilings {
		ceiling *= time.Millisecond
		if got := policy.Delay(i+1, 0, 0); got != 0 {
			t.Errorf("attempt %d: least %v, want 0", i+1, got)
		}
		if got, want := policy.Delay(i+1, 0, 0.5), ceiling/2; got != want {
			t.Errorf("attempt %d: middle %v, want %v", i+1, got, want)
		}
	}
	if got := policy.Delay(1_000_000, 0, 0.999); got > policy.Max {
		t.Errorf("after a million attempts: %v", got)
	}
}

func TestDelayHonoursAndCapsRetryAfter(t *testing.T) {
	policy := DefaultRetryPolicy()
	for after, least := range map[time.Duration]time.Duration{
		5 * time.Second: 5 * time.Second,
		time.Hour:       time.Minute,
		-time.Second:    0,
	} {
		if got := policy.Delay(1, after, 0.5); got != least+policy.Base/2 {
			t.Errorf("Retry-After %v: wait %v, want %v and jitter", after, got, least)
		}
	}
}
