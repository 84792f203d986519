package delivery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// weather is how SaaSquatch answers for a while: one of the answers, each of them
// equally likely.
type weather []string

// The answers say whether the event is processed, and what the sender learns of it.
var weathers = []weather{
	{"processed"},
	{"processed", "processed", "processed", "lost answer", "error", "refused"},
	{"lost answer"}, // a proxy that times out before SaaSquatch answers
	{"error"},
	{"error", "lost answer", "processed"},
	{"unreachable"},
	{"throttled", "processed"},
	{"wrong key"},
	{"panic", "processed", "processed"},
	{"processed", "processed", "unclear"},
}

// bulkWeathers are the answers to bulk calls as a whole. Most have their items answered one by one.
var bulkWeathers = []weather{
	{"items"},
	{"items", "items", "items", "whole unclear", "whole error", "whole refused"},
	{"items", "whole lost"},
	{"whole refused"},
}

// tenant is a SaaSquatch that remembers each key for 24 hours, and each event for
// ever.
type tenant struct {
	*simulation
	random *rand.Rand

	mu        sync.Mutex
	weather   weather
	bulk      weather
	processed map[string][]time.Time // by messageId
	attempts  map[string]int         // by messageId
	settled   map[string]bool        // the messageIds of upserts with an outcome, whether it was learned or not
	upserts   map[string][]string    // the messageIds of upserts by user, in the order of acceptance
	last      map[string]string      // the messageId of the upsert that was processed last, by user
	busy      map[string]bool        // users with an attempt in flight
	bulkItems int
	wholes    int // bulk calls that failed as a whole
}

func (s *tenant) set(w, bulk weather) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weather, s.bulk = w, bulk
}

// messageID returns the messageId of the event or upsert. An event carries it in its event name as well,
// since those without a valid key are sent without.
func messageID(call *deliverytest.Call) string {
	if call.Upsert != nil {
		return call.ID
	}
	return call.Key
}

// begin notes that an attempt at an event or upsert begins.
func (s *tenant) begin(call *deliverytest.Call) {
	id := messageID(call)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[call.UserID] {
		s.Errorf("user %s has two attempts at once", call.UserID)
	}
	s.busy[call.UserID] = true
	s.attempts[id]++
	if call.Bulk != 0 {
		s.bulkItems++
	}
	if call.Bulk != 0 && call.Upsert == nil && call.Event.IdempotencyKey == "" {
		s.Errorf("%s has no key, and shares a call", id)
	}
	for _, upsert := range s.upserts[call.UserID] {
		if upsert >= id || s.settled[upsert] || s.attempts[upsert] >= adapter.MaxHoldingTries ||
			!s.event(id).AmbiguousSince.IsZero() {
			continue
		}
		// It is given up when its next attempt would be after the horizon.
		waits := s.event(upsert)
		if waits.Outcome == adapter.Pending &&
			(waits.FirstAttempt.IsZero() || s.queue.Now().Sub(waits.FirstAttempt) < adapter.DefaultHorizon-time.Hour) {
			s.Errorf("%s was sent before %s, which was tried %d times", id, upsert, s.attempts[upsert])
		}
	}
}

func (s *tenant) end(call *deliverytest.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[call.UserID] = false
}

// process has SaaSquatch process an event or upsert, and reports whether it knows the event already.
func (s *tenant) process(call *deliverytest.Call) (known bool) {
	id := messageID(call)
	s.mu.Lock()
	defer s.mu.Unlock()
	if call.Upsert != nil {
		s.settled[id], s.last[call.UserID] = true, id
		s.processed[id] = []time.Time{time.Now()}
		return false
	}
	if known = s.knows(call); !known {
		s.processed[id] = append(s.processed[id], time.Now())
	}
	return known
}

func (s *tenant) knows(call *deliverytest.Call) bool {
	times := s.processed[messageID(call)]
	return call.ID != "" && call.Upsert == nil && len(times) > 0 && time.Since(times[len(times)-1]) < 24*time.Hour
}

// Bulk answers a bulk call as a whole, or leaves it to Send to answer the items.
func (s *tenant) Bulk(items []*deliverytest.Call) *adapter.BulkAttempt {
	s.mu.Lock()
	answer := s.bulk[s.random.IntN(len(s.bulk))]
	latency := time.Duration(s.random.IntN(100)) * time.Millisecond
	processed := make([]bool, len(items))
	for i := range items {
		processed[i] = s.random.IntN(2) == 0
	}
	s.mu.Unlock()
	if answer == "items" {
		return nil
	}
	for _, item := range items {
		s.begin(item)
		defer s.end(item)
	}
	s.mu.Lock()
	s.wholes++
	s.mu.Unlock()
	attempt := map[string]adapter.Attempt{
		"whole refused": tooLarge, "whole error": serverError, "whole unclear": unclear,
		"whole lost": {Outcome: adapter.Pending, Reason: mapping.ReasonTimeout},
	}[answer]
	attempt.Unprocessed = attempt.Unprocessed || items[0].Upsert != nil
	if answer == "whole lost" {
		latency = 8 * time.Second
	}
	time.Sleep(latency)
	for i, item := range items {
		if processed[i] && (answer == "whole unclear" || answer == "whole lost") {
			s.process(item)
		}
	}
	bulk := deliverytest.Whole(items, attempt)
	bulk.Divisible = answer == "whole refused"
	return bulk
}

// Send answers a call for one event or upsert, or an item of a bulk call.
func (s *tenant) Send(_ context.Context, call *deliverytest.Call) adapter.Attempt {
	id := messageID(call)
	s.begin(call)
	defer s.end(call)
	s.mu.Lock()
	answer := s.weather[s.random.IntN(len(s.weather))]
	latency := time.Duration(s.random.IntN(300)) * time.Millisecond
	if answer == "lost answer" || s.random.IntN(50) == 0 {
		latency = 9 * time.Second
	}
	half := s.random.IntN(2) == 0
	s.mu.Unlock()
	// By the clock of the process, which the queue was told the time by.
	if since := s.event(id).AmbiguousSince; !since.IsZero() && s.queue.Now().Sub(since) >= adapter.DefaultHorizon {
		s.Errorf("%s was sent %v after SaaSquatch may have processed it", id, s.queue.Now().Sub(since))
	}
	time.Sleep(latency)

	switch answer {
	case "processed":
		if s.process(call) {
			return conflict
		}
		return delivered
	case "lost answer":
		s.process(call)
		return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout}
	case "unclear":
		if half {
			s.process(call)
		}
		if call.Bulk == 0 {
			return serverError
		}
		answer := unclear
		answer.Unprocessed = call.Upsert != nil
		return answer
	case "panic":
		s.process(call)
		panic("a fault")
	case "error":
		return serverError
	case "refused":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.knows(call) {
			return conflict
		}
		if call.Upsert != nil {
			s.settled[id] = true
		}
		return adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400}
	case "unreachable":
		return unreachable
	case "throttled":
		return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonRateLimited, Status: 429,
			Unprocessed: true, RetryAfter: 2 * time.Second}
	case "wrong key":
		return wrongKey
	}
	panic("unknown answer " + answer)
}

// TestExactlyOnce runs for simulated weeks through all weathers, with a store that
// fails at times and a process that is stopped, is down for long, and crashes.
func TestExactlyOnce(t *testing.T) {
	var sum tally
	for seed := range uint64(deliverytest.Explore(4)) { // each kind of process once
		for _, bulk := range []int{1, adapter.MaxBulk} {
			synctest.Test(t, func(t *testing.T) {
				sum.add(t, runExactlyOnce(t, seed, bulk))
			})
		}
	}
	t.Logf("%+v", sum)
	if sum.Attempts < 2*sum.Events || sum.Delivered < sum.Events/2 || sum.HorizonOver == 0 || sum.Ambiguous == 0 ||
		sum.Crashes == 0 || sum.Unrecorded == 0 || sum.StoreFaults == 0 || sum.Panics == 0 ||
		sum.LostMarks == 0 || sum.Unknown == 0 || sum.Upserts == 0 || sum.BulkItems < sum.Events/5 ||
		sum.Wholes == 0 {
		t.Error("the model shows little")
	}
}

// tally is what happened in the model, to see that it was something.
type tally struct {
	Events, Attempts, Delivered, Duplicate, Refused, HorizonOver, Ambiguous int
	Crashes, Unrecorded, Twice, StoreFaults, Panics, LostMarks, Unknown     int
	Upserts, Superseded, BulkItems, Wholes                                  int
}

func (s *tally) add(t *testing.T, other tally) {
	t.Helper()
	s.Events += other.Events
	s.Attempts += other.Attempts
	s.Delivered += other.Delivered
	s.Duplicate += other.Duplicate
	s.Refused += other.Refused
	s.HorizonOver += other.HorizonOver
	s.Ambiguous += other.Ambiguous
	s.Crashes += other.Crashes
	s.Unrecorded += other.Unrecorded
	s.Twice += other.Twice
	s.StoreFaults += other.StoreFaults
	s.Panics += other.Panics
	s.LostMarks += other.LostMarks
	s.Unknown += other.Unknown
	s.Upserts += other.Upserts
	s.Superseded += other.Superseded
	s.BulkItems += other.BulkItems
	s.Wholes += other.Wholes
}

func runExactlyOnce(t *testing.T, seed uint64, bulk int) (sum tally) {
	ours := rand.New(rand.NewPCG(seed, 1))
	s := &tenant{
		random: rand.New(rand.NewPCG(seed, 2)), weather: weathers[0], bulk: bulkWeathers[0],
		processed: make(map[string][]time.Time), attempts: make(map[string]int), busy: make(map[string]bool),
		settled: make(map[string]bool), upserts: make(map[string][]string), last: make(map[string]string),
	}
	s.simulation = newSimulation(t, nil)
	s.mapper = identifies(t, mapping.EnsureNever)
	s.sender = delivery.NewSender(&deliverytest.Sender{Answer: s.Send, Bulk: s.Bulk}, delivery.SenderOptions{})
	s.options.Bulk = bulk
	s.queue.LongPoll = true
	s.options.UnkeyedDead = seed%2 == 1
	if seed%4 >= 2 {
		// The clock of the process is not the database's, by which leases end. At times it
		// stands still, so that only a mark tells of a lease that is lost.
		s.queue.LeaseFor = 3 * time.Minute
		s.queue.Overstated = 10 * time.Minute
		skew := []time.Duration{5 * time.Minute, -5 * time.Minute}[seed%2]
		s.queue.Now = func() time.Time { return time.Now().Add(skew) }
		s.options.Now = s.queue.Now
	}
	var crashed atomic.Bool
	var faults, lost atomic.Int64
	var faulty sync.Mutex // guards its random numbers and the share
	unlucky, share := rand.New(rand.NewPCG(seed, 3)), 0.0
	s.queue.Fault = func(operation string) error {
		faulty.Lock()
		frozen := operation == "mark" && s.queue.LeaseFor > 0 && unlucky.IntN(8) == 0
		faulty.Unlock()
		if frozen { // until its lease is another's, while its own clocks stand still
			lost.Add(1)
			time.Sleep(s.queue.LeaseFor + time.Minute)
		}
		faulty.Lock()
		defer faulty.Unlock()
		if operation != "accept" && (crashed.Load() || unlucky.Float64() < share) {
			faults.Add(1)
			if unlucky.IntN(2) == 0 {
				return &adapter.UnavailableError{Message: "the store is out of order"}
			}
			return errStore
		}
		return nil
	}
	var unknown int64
	s.queue.Unknown = func() bool {
		faulty.Lock()
		defer faulty.Unlock()
		if unlucky.Float64() < share/4 {
			unknown++
			return true
		}
		return false
	}
	spoil := func(to float64) {
		faulty.Lock()
		defer faulty.Unlock()
		share = to
	}

	stop := s.run()
	crash := func() {
		sum.Crashes++
		crashed.Store(true)
		_ = stop() // it cannot record or release anything
		s.queue.Restart()
		crashed.Store(false)
		stop = s.run()
	}
	const events = 300
	for accepted := 0; accepted < events; {
		s.set(weathers[ours.IntN(len(weathers))], bulkWeathers[ours.IntN(len(bulkWeathers))])
		spoil([]float64{0, 0, 0.3, 0.9}[ours.IntN(4)])
		for range 1 + ours.IntN(60) {
			// The event's name is its messageId as well, as its key is.
			id := fmt.Sprintf("event%06d", accepted)
			accepted++
			messageID, kind, user := id, "track", fmt.Sprintf("user-%d", ours.IntN(30))
			switch ours.IntN(8) {
			case 0, 1:
				messageID = "no key " + id
			case 2:
				kind = "identify"
				s.noteUpsert(user, id)
			}
			s.acceptNamed(kind, user, id, messageID)
			if ours.IntN(3) == 0 { // so that others wait with it
				time.Sleep(time.Duration(ours.IntN(6000)) * time.Millisecond)
			}
			if ours.IntN(20) == 0 {
				crash()
			}
		}
		time.Sleep(time.Duration(ours.IntN(600)) * time.Second)
		spoil(0)
		if ours.IntN(2) == 0 {
			time.Sleep([]time.Duration{time.Minute, time.Hour, 10 * time.Hour, 30 * time.Hour}[ours.IntN(4)])
			continue
		}
		synctest.Wait()
		time.Sleep(10 * time.Second) // so that whatever waits to be recorded is
		if err := stop(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Duration(ours.IntN(40)) * time.Hour) // keys may be forgotten by then
		stop = s.run()
	}
	s.set(weathers[0], bulkWeathers[0])
	spoil(0)
	time.Sleep(50 * time.Hour)
	synctest.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.check(&sum, s.options.UnkeyedDead)
	sum.StoreFaults, sum.Panics, sum.LostMarks, sum.Unknown = int(faults.Load()), s.panics, int(lost.Load()),
		int(unknown)
	if t.Failed() {
		t.Fatalf("seed %d", seed)
	}
	return sum
}

// acceptNamed puts a call in the queue whose event key tells what it is.
func (s *tenant) acceptNamed(kind, user, key, messageID string) {
	s.acceptEvents([][]byte{
		fmt.Appendf(nil, `{"type":%q,"userId":%q,"event":%q,"messageId":%q}`, kind, user, key, messageID),
	})
}

// noteUpsert notes an identify call before it is accepted.
func (s *tenant) noteUpsert(user, messageID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upserts[user] = append(s.upserts[user], messageID)
}

// event returns what the queue knows of an event.
func (s *tenant) event(id string) deliverytest.Event {
	var n int
	if _, err := fmt.Sscanf(id, "event%06d", &n); err != nil {
		s.Error(err)
	}
	return s.queue.Numbered(n)
}

// check looks at every event when all is over.
func (s *tenant) check(sum *tally, unkeyedDead bool) {
	if s.queue.Stats().InHand != 0 {
		s.Errorf("%d events are in hand still", s.queue.Stats().InHand)
	}
	sum.BulkItems, sum.Wholes = s.bulkItems, s.wholes
	for user, ids := range s.upserts {
		sum.Upserts += len(ids)
		for _, id := range ids {
			if s.event(id).Outcome == adapter.Delivered && id > s.last[user] {
				s.Errorf("%s was processed after %s, which is newer", s.last[user], id)
			}
		}
	}
	for _, event := range s.queue.Events() {
		keyed := !strings.HasPrefix(event.MessageID, "no key")
		id := strings.TrimPrefix(event.MessageID, "no key ")
		processed, sent := len(s.processed[id]), s.attempts[id]
		results := s.results[event.MessageID]
		sum.Events++
		sum.Attempts += sent
		if event.Untold && event.Outcome != adapter.Pending && len(results) == 0 {
			continue // the process ended before it learned that the outcome was recorded
		}
		if event.Outcome == adapter.Pending || len(results) != 1 {
			s.Errorf("%s is %v in the end, and was told %d times", id, event.Outcome, len(results))
			continue
		}
		result := results[0]
		if result.Outcome != event.Outcome || result.Reason != event.Last.Reason {
			s.Errorf("%s was told as %v %s, and recorded as %v %s", id, result.Outcome, result.Reason, event.Outcome,
				event.Last.Reason)
		}
		unrecorded := sent - event.Recorded
		if unrecorded < 0 {
			s.Errorf("%s has %d attempts recorded, and was sent %d times", id, event.Recorded, sent)
		}
		if unrecorded > 0 {
			sum.Unrecorded++
		}
		switch result.Outcome {
		case adapter.Delivered, adapter.Duplicate:
			if result.Outcome == adapter.Delivered {
				sum.Delivered++
			} else {
				sum.Duplicate++
			}
			if processed == 0 {
				s.Errorf("%s counts as %v, and was never processed", id, result.Outcome)
			}
		case adapter.Dead:
			switch result.Reason {
			case mapping.ReasonRefused:
				sum.Refused++
			case mapping.ReasonHorizonOver:
				sum.HorizonOver++
			case mapping.ReasonUnkeyedAmbiguous:
				sum.Ambiguous++
				if keyed || !unkeyedDead {
					s.Errorf("%s is %s", id, result.Reason)
				}
			default:
				s.Errorf("%s is dead for %s", id, result.Reason)
			}
		case adapter.Skipped:
			sum.Superseded++
			if result.Reason != mapping.ReasonIdentifySuperseded {
				s.Errorf("%s is skipped for %s", id, result.Reason)
			}
		default:
			s.Errorf("%s ended as %v", id, result.Outcome)
		}
		if processed <= 1 {
			continue
		}
		sum.Twice++
		switch {
		case keyed && unrecorded == 0:
			s.Errorf("%s was processed %d times: %v", id, processed, s.processed[id])
		case keyed && s.processed[id][1].Sub(s.processed[id][0]) < 24*time.Hour:
			s.Errorf("%s was processed twice within 24 h", id)
		case !keyed && unkeyedDead:
			s.Errorf("%s has no key, and was processed %d times", id, processed)
		}
	}
}
