package sandbox

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats are the counters since the start or the last reset. Requests to the pages do not count.
type Stats struct {
	// Now is the time of the sandbox's clock.
	Now time.Time `json:"now"`
	// Requests counts calls of the API, with those in flight.
	Requests uint64 `json:"requests"`
	// ByStatus counts answers by HTTP status. Resets and time-outs have none.
	ByStatus map[int]uint64 `json:"byStatus"`
	// EventsAccepted counts accepted user events.
	EventsAccepted uint64 `json:"eventsAccepted"`
	// EventsKept is the number of accepted events in memory.
	EventsKept int `json:"eventsKept"`
	// RequestsWithKey and RequestsWithoutKey count the requests of accepted events, with and without an idempotency
	// key.
	RequestsWithKey    uint64 `json:"requestsWithKey"`
	RequestsWithoutKey uint64 `json:"requestsWithoutKey"`
	// Conflicts counts requests with a used idempotency key, even if their client did not receive the 409.
	Conflicts uint64 `json:"conflicts"`
	// BurntConflicts counts the conflicts with a failed attempt, whose events were never processed. See
	// [Options.BurnKeys].
	BurntConflicts uint64 `json:"burntConflicts"`
	// IdempotencyKeys is the number of keys within their 24 hours.
	IdempotencyKeys int `json:"idempotencyKeys"`
	// BulkCalls counts GraphQL mutations with several inputs. An accepted or conflicting input counts as a request in
	// the other counters.
	BulkCalls uint64 `json:"bulkCalls"`
	// Users and Accounts are the numbers of existing users and accounts.
	Users    int `json:"users"`
	Accounts int `json:"accounts"`
	// UserCreates, UserUpserts and UserLookups count successful calls.
	UserCreates uint64 `json:"userCreates"`
	UserUpserts uint64 `json:"userUpserts"`
	UserLookups uint64 `json:"userLookups"`
	// Uploads counts accepted files for import.
	Uploads uint64 `json:"uploads"`
	// Jobs counts import jobs by status.
	Jobs JobStats `json:"jobs"`
	// Records counts the records that jobs have processed, RecordErrors those that failed.
	Records      uint64 `json:"records"`
	RecordErrors uint64 `json:"recordErrors"`
	// Faults counts injected faults.
	Faults FaultStats `json:"faults"`
	// UnexpectedRequests counts requests that match no endpoint. A client that escapes ids correctly causes none.
	UnexpectedRequests uint64 `json:"unexpectedRequests"`
	// UnexpectedPaths are the last few such requests: method and escaped path.
	UnexpectedPaths []string `json:"unexpectedPaths"`
}

// JobStats counts import jobs by status.
type JobStats struct {
	Pending   int    `json:"pending"`
	Completed uint64 `json:"completed"`
	Aborted   uint64 `json:"aborted"`
}

// FaultStats counts injected faults of calls and of their inputs, by kind and by whether they came before or after the
// processing.
type FaultStats struct {
	FailedBefore   uint64 `json:"failedBefore"`
	FailedAfter    uint64 `json:"failedAfter"`
	ResetBefore    uint64 `json:"resetBefore"`
	ResetAfter     uint64 `json:"resetAfter"`
	TimedOutBefore uint64 `json:"timedOutBefore"`
	TimedOutAfter  uint64 `json:"timedOutAfter"`
	// ListsChanged counts the bulk calls whose lists were changed. See [Faults.Lists].
	ListsChanged uint64 `json:"listsChanged"`
}

// Stats returns the counters. It runs due jobs first. Requests in flight may count in some of the counters only.
func (s *Server) Stats() Stats {
	s.runJobs()
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

// counters are independent of the server's mutex.
type counters struct {
	requests       atomic.Uint64
	byStatus       [600]atomic.Uint64
	events         atomic.Uint64
	withKey        atomic.Uint64
	withoutKey     atomic.Uint64
	conflicts      atomic.Uint64
	burntConflicts atomic.Uint64
	bulkCalls      atomic.Uint64
	listsChanged   atomic.Uint64
	users          [lookUpUser + 1]atomic.Uint64   // by endpoint
	faults         [timeoutFault + 1]beforeOrAfter // by kind
	uploads        atomic.Uint64
	jobsCompleted  atomic.Uint64
	jobsAborted    atomic.Uint64
	records        atomic.Uint64
	recordErrors   atomic.Uint64
	unexpected     unexpected
}

type beforeOrAfter struct{ before, after atomic.Uint64 }

func (c *counters) answered(status int) { c.byStatus[status].Add(1) }

func (c *counters) injected(f fault) {
	if f.after {
		c.faults[f.kind].after.Add(1)
	} else if f.kind != noFault {
		c.faults[f.kind].before.Add(1)
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
		BulkCalls:          c.bulkCalls.Load(),
		UserCreates:        c.users[createUser].Load(),
		UserUpserts:        c.users[upsertUser].Load(),
		UserLookups:        c.users[lookUpUser].Load(),
		Uploads:            c.uploads.Load(),
		Jobs:               JobStats{Completed: c.jobsCompleted.Load(), Aborted: c.jobsAborted.Load()},
		Records:            c.records.Load(),
		RecordErrors:       c.recordErrors.Load(),
		Faults: FaultStats{
			FailedBefore:   c.faults[failFault].before.Load(),
			FailedAfter:    c.faults[failFault].after.Load(),
			ResetBefore:    c.faults[resetFault].before.Load(),
			ResetAfter:     c.faults[resetFault].after.Load(),
			TimedOutBefore: c.faults[timeoutFault].before.Load(),
			TimedOutAfter:  c.faults[timeoutFault].after.Load(),
			ListsChanged:   c.listsChanged.Load(),
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

// unexpected records requests that match no endpoint.
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
