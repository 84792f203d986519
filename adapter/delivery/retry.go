package delivery

import (
	"math/rand/v2"
	"time"
)

// RetryPolicy says how long to wait between attempts: exponential backoff with full jitter, a
// uniformly random time up to a ceiling that doubles. Full jitter spreads the retries of many
// events best; see "Exponential Backoff And Jitter" in the AWS Architecture Blog.
type RetryPolicy struct {
	// Base is the ceiling of the first wait. Default: 100 ms.
	Base time.Duration
	// Max is the highest ceiling. Default: 2 s.
	Max time.Duration
	// MaxRetryAfter caps what a Retry-After header can ask for. Default: 60 s.
	MaxRetryAfter time.Duration
}

// DefaultRetryPolicy returns the policy for delivery within a request.
func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{Base: 100 * time.Millisecond, Max: 2 * time.Second, MaxRetryAfter: time.Minute}
}

// Delay returns the wait after the given number of failed attempts, at least 1. The random number
// is uniform in [0,1). Retry-After is added to the jitter, so that requests that were refused
// together do not come back together.
func (p RetryPolicy) Delay(failed int, retryAfter time.Duration, random float64) time.Duration {
	ceiling := p.Base
	for range failed - 1 {
		if ceiling >= p.Max/2 {
			ceiling = p.Max
			break
		}
		ceiling *= 2
	}
	jitter := time.Duration(random * float64(min(ceiling, p.Max)))
	return min(max(retryAfter, 0), p.MaxRetryAfter) + jitter
}

// randomFloat is the default source of jitter.
func randomFloat() float64 { return rand.Float64() }
