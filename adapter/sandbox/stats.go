package sandbox

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the counters since the start or the last reset. Requests to the
// pages do not count.
type Stats struct {
	// Now is the time of the sandbox's clock.
	Now time.Time `json:"now"`
	// Requests counts calls of the API, those in flight too.
	Requests uint64 `json:"requests"`
	// ByStatus counts answers by HTTP status; resets and time-outs have none.
	ByStatus map[int]uint64 `json:"byStatus"`
	// EventsAccepted counts user events that were processed.
	EventsAccepted uint64 `json:"eventsAccepted"`
	// EventsKept is how many of them are still shown.
	EventsKept int `json:"eventsKept"`
	// RequestsWithKey and RequestsWithoutKey count the requests of accepted
	// events by whether they carried an idempotency key.
	RequestsWithKey    uint64 `json:"requestsWithKey"`
	RequestsWithoutKey uint64 `json:"requestsWithoutKey"`
	// Conflicts counts requests whose idempotency key had been used, whether or
	// not their client got to see the 409.
	Conflicts uint64 `json:"conflicts"`
	// BurntConflicts counts those of them whose key was used up by a failed
	// attempt: the events were never processed. See [Options.BurnKeys].
	BurntConflicts uint64 `json:"burntConflicts"`
	// IdempotencyKeys is how many keys are within their 24 hours.
	IdempotencyKeys int `json:"idempotencyKeys"`
	// Users and Accounts are how many there are.
	Users    int `json:"users"`
	Accounts int `json:"accounts"`
	// UserCreates, UserUpserts and UserLookups count those that were carried out.
	UserCreates uint64 `json:"userCreates"`
	UserUpserts uint64 `json:"userUpserts"`
	UserLookups uint64 `json:"userLookups"`
	// Uploads counts files that were taken for import.
	Uploads uint64 `json:"uploads"`
	// Jobs counts import jobs by status.
	Jobs JobStats `json:"jobs"`
	// Records counts those that jobs have processed, RecordErrors those of them
	// that failed.
	Records      uint64 `json:"records"`
	RecordErrors uint64 `json:"recordErrors"`
	// Faults counts injected faults.
	Faults FaultStats `json:"faults"`
	// UnexpectedRequests counts requests that match no endpoint. A client that
	// escapes ids as it should causes none, whatever the ids.
	UnexpectedRequests uint64 `json:"unexpectedRequests"`
	// UnexpectedPaths are the last few of them: method and escaped path.
	UnexpectedPaths []string `json:"unexpectedPaths"`
}

// JobStats counts import jobs by status.
type JobStats struct {
	Pending   int    `json:"pending"`
	Completed uint64 `json:"completed"`
	Aborted   uint64 `json:"aborted"`
}

// FaultStats counts injected faults by kind and by whether the request was
// processed before.
type FaultStats struct {
	FailedBefore   uint64 `json:"failedBefore"`
	FailedAfter    uint64 `json:"failedAfter"`
	ResetBefore    uint64 `json:"resetBefore"`
	ResetAfter     uint64 `json:"resetAfter"`
	TimedOutBefore uint64 `json:"timedOutBefore"`
	TimedOutAfter  uint64 `json:"timedOutAfter"`
}

// Stats returns the counters. Those that requests in flight change may differ by
// such requests. Jobs whose time has come are carried out before.
func (s *Server) Stats() Stats {
	s.catchUp()
	stats := s.counts.Load().stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Now = s.now()
	stats.EventsKept = s.log.events.length
	stats.Jobs.Pending = len(s.pending)
	for _, t := range s.tenants {
		t.keys.expire(stats.Now)
		stats.IdempotencyKeys += len(t.keys.uses)
		stats.Users += len(t.users)
		stats.Accounts += len(t.accounts)
	}
	return stats
}

// counters count without the server's mutex.
type counters struct {
	requests       atomic.Uint64
	byStatus       [600]atomic.Uint64
	events         atomic.Uint64
	withKey        atomic.Uint64
	withoutKey     atomic.Uint64
	conflicts      atomic.Uint64
	burntConflicts atomic.Uint64
	users          [lookUpUser + 1]atomic.Uint64    // by endpoint
	strikes        [timeoutStrike + 1]beforeOrAfter // by kind
	uploads        atomic.Uint64
	jobsCompleted  atomic.Uint64
	jobsAborted    atomic.Uint64
	records        atomic.Uint64
	recordErrors   atomic.Uint64
	unexpected     unexpected
}

type beforeOrAfter struct{ before, after atomic.Uint64 }

func (c *counters) answered(status int) { c.byStatus[status].Add(1) }

func (c *counters) struck(strike strike) {
	if strike.after {
		c.strikes[strike.kind].after.Add(1)
	} else if strike.kind != noStrike {
		c.strikes[strike.kind].before.Add(1)
	}
}

func (c *counters) accepted(events int, withKey bool) {
	c.events.Add(uint64(events))
	if withKey {
		c.withKey.Add(1)
	} else {
		c.withoutKey.Add(1)
	}
}

func (c *counters) conflict(use keyUse) {
	c.conflicts.Add(1)
	if !use.processed {
		c.burntConflicts.Add(1)
	}
}

func (c *counters) jobEnded(status jobStatus) {
	if status == jobCompleted {
		c.jobsCompleted.Add(1)
	} else {
		c.jobsAborted.Add(1)
	}
}

func (c *counters) stats() Stats {
	stats := Stats{
		Requests:           c.requests.Load(),
		ByStatus:           make(map[int]uint64),
		EventsAccepted:     c.events.Load(),
		RequestsWithKey:    c.withKey.Load(),
		RequestsWithoutKey: c.withoutKey.Load(),
		Conflicts:          c.conflicts.Load(),
		BurntConflicts:     c.burntConflicts.Load(),
		UserCreates:        c.users[createUser].Load(),
		UserUpserts:        c.users[upsertUser].Load(),
		UserLookups:        c.users[lookUpUser].Load(),
		Uploads:            c.uploads.Load(),
		Jobs:               JobStats{Completed: c.jobsCompleted.Load(), Aborted: c.jobsAborted.Load()},
		Records:            c.records.Load(),
		RecordErrors:       c.recordErrors.Load(),
		Faults: FaultStats{
			FailedBefore:   c.strikes[failStrike].before.Load(),
			FailedAfter:    c.strikes[failStrike].after.Load(),
			ResetBefore:    c.strikes[resetStrike].before.Load(),
			ResetAfter:     c.strikes[resetStrike].after.Load(),
			TimedOutBefore: c.strikes[timeoutStrike].before.Load(),
			TimedOutAfter:  c.strikes[timeoutStrike].after.Load(),
		},
	}
	for status := range c.byStatus {
		if n := c.byStatus[status].Load(); n > 0 {
			stats.ByStatus[status] = n
		}
	}
	stats.UnexpectedRequests, stats.UnexpectedPaths = c.unexpected.list()
	return stats
}

// unexpected remembers requests that match no endpoint.
type unexpected struct {
	mu    sync.Mutex
	count uint64
	last  []string
}

const (
	maxUnexpected       = 10
	maxUnexpectedLength = 300 // in bytes
)

func (u *unexpected) note(method, path string) {
	text := method + " " + path
	if len(text) > maxUnexpectedLength {
		text = text[:maxUnexpectedLength] + "…"
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count++
	if len(u.last) == maxUnexpected {
		u.last = append(u.last[:0:0], u.last[1:]...)
	}
	u.last = append(u.last, text)
}

func (u *unexpected) list() (uint64, []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count, append([]string{}, u.last...)
}
