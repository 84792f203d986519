package deliverytest

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Call is one request to SaaSquatch.
type Call struct {
	// Event is what a request sends, nil if it sends an upsert.
	Event *mapping.UserEvent
	// Upsert is what a request sends, nil if it sends an event.
	Upsert *mapping.UserUpsert
	// Kind is "track" or "upsert".
	Kind string
	// UserID, Key and ID identify the event or upsert. ID is the idempotency key of an event, or
	// customFields.m of an upsert, by which tests tell upserts apart.
	UserID, Key, ID string
	// Number counts the requests with the same event or upsert, from 1.
	Number int
	// Bulk is the number of the bulk call of which this is an item, from 1; 0 for a call of its own.
	Bulk int
	// Attempt is the answer, and Ended the time of the answer.
	Attempt adapter.Attempt
	Ended   time.Time
}

// Sender is a SaaSquatch that answers by a function and keeps the calls. It is an adapter.BulkSender
// that makes one request for each event or list of them, and a delivery.Client. It is safe for
// concurrent use.
type Sender struct {
	// Answer returns what a call comes to. It may wait. Each item of a bulk call is a call here.
	Answer func(ctx context.Context, call *Call) adapter.Attempt
	// Bulk returns what a bulk call comes to as a whole, or nil if its items are answered one by one. It may
	// wait. Default: nil.
	Bulk func(items []*Call) *adapter.BulkAttempt
	// Single reports whether an upsert needs a call of its own. Default: none does.
	Single func(*mapping.UserUpsert) bool
	// KeepNothing is for benchmarks: the calls are neither kept nor numbered.
	KeepNothing bool

	mu       sync.Mutex
	bulks    [][]*Call
	numbers  map[string]int
	began    []*Call
	ended    []*Call
	inFlight int
	most     int
}

// NewSender returns a Sender that answers events by a function.
func NewSender(answer func(event *mapping.UserEvent) adapter.Attempt) *Sender {
	return &Sender{Answer: func(_ context.Context, call *Call) adapter.Attempt { return answer(call.Event) }}
}

// NewNumberedSender returns a Sender that answers events by a function. number counts the requests
// with the same event, from 1.
func NewNumberedSender(answer func(event *mapping.UserEvent, number int) adapter.Attempt) *Sender {
	return &Sender{Answer: func(_ context.Context, call *Call) adapter.Attempt {
		return answer(call.Event, call.Number)
	}}
}

// Always returns a Sender that gives every call the same answer.
func Always(attempt adapter.Attempt) *Sender {
	return &Sender{Answer: func(context.Context, *Call) adapter.Attempt { return attempt }}
}

// Script returns a Sender that uses each answer once, and the last one from then on. Events and
// upserts have answers of their own. Each call takes the given time.
func Script(takes time.Duration, tracks, upserts []adapter.Attempt) *Sender {
	var mu sync.Mutex
	return &Sender{Answer: func(_ context.Context, call *Call) adapter.Attempt {
		time.Sleep(takes)
		mu.Lock()
		defer mu.Unlock()
		answers := &tracks
		if call.Upsert != nil {
			answers = &upserts
		}
		answer := (*answers)[0]
		if len(*answers) > 1 {
			*answers = (*answers)[1:]
		}
		return answer
	}}
}

// Send makes one request with the event, or with each upsert of an identify call until one fails.
func (s *Sender) Send(ctx context.Context, mapped *mapping.Result) (attempt adapter.Attempt) {
	if mapped.Kind != mapping.KindUserUpsert {
		return s.Track(ctx, &mapped.UserEvent)
	}
	for i := range mapped.Upserts {
		if attempt = s.Upsert(ctx, &mapped.Upserts[i]); attempt.Outcome != adapter.Delivered {
			break
		}
	}
	return attempt
}

// Track is the request with an event.
func (s *Sender) Track(ctx context.Context, event *mapping.UserEvent) adapter.Attempt {
	return s.call(ctx, trackOf(event))
}

func trackOf(event *mapping.UserEvent) *Call {
	return &Call{Kind: "track", Event: event, UserID: event.UserID, Key: event.Key, ID: event.IdempotencyKey}
}

// Upsert is the request with an upsert.
func (s *Sender) Upsert(ctx context.Context, upsert *mapping.UserUpsert) adapter.Attempt {
	return s.call(ctx, upsertOf(upsert))
}

func upsertOf(upsert *mapping.UserUpsert) *Call {
	var body struct{ CustomFields struct{ M string } }
	_ = json.Unmarshal(upsert.Body, &body) // an upsert of an event has no such field
	return &Call{Kind: "upsert", Upsert: upsert, UserID: upsert.UserID, ID: body.CustomFields.M}
}

// SendBulk makes one request with several events, or with several upserts.
func (s *Sender) SendBulk(ctx context.Context, mapped []*mapping.Result) adapter.BulkAttempt {
	if mapped[0].Kind != mapping.KindUserUpsert {
		events := make([]*mapping.UserEvent, len(mapped))
		for i := range mapped {
			events[i] = &mapped[i].UserEvent
		}
		return s.TrackBulk(ctx, events)
	}
	upserts := make([]*mapping.UserUpsert, len(mapped))
	for i := range mapped {
		upserts[i] = &mapped[i].Upserts[0]
	}
	return s.UpsertBulk(ctx, upserts)
}

// SendMissing makes one request with the event, as if the upsert of its user had succeeded.
func (s *Sender) SendMissing(ctx context.Context, mapped *mapping.Result) adapter.Attempt {
	return s.Track(ctx, &mapped.UserEvent)
}

// BulkSize returns adapter.MaxBulk.
func (s *Sender) BulkSize() int { return adapter.MaxBulk }

// Bulkable reports whether SendBulk takes what was mapped. An upsert is always taken.
func (s *Sender) Bulkable(mapped *mapping.Result) bool {
	return mapped.Kind == mapping.KindUserUpsert && len(mapped.Upserts) == 1 || mapped.UserEvent.IdempotencyKey != ""
}

// BulkableUpsert reports whether Single is false.
func (s *Sender) BulkableUpsert(upsert *mapping.UserUpsert) bool {
	return s.Single == nil || !s.Single(upsert)
}

// TrackBulk is the request with several events.
func (s *Sender) TrackBulk(ctx context.Context, events []*mapping.UserEvent) adapter.BulkAttempt {
	items := make([]*Call, len(events))
	for i, event := range events {
		items[i] = trackOf(event)
	}
	return s.bulk(ctx, items)
}

// UpsertBulk is the request with several upserts.
func (s *Sender) UpsertBulk(ctx context.Context, upserts []*mapping.UserUpsert) adapter.BulkAttempt {
	items := make([]*Call, len(upserts))
	for i, upsert := range upserts {
		items[i] = upsertOf(upsert)
	}
	return s.bulk(ctx, items)
}

// bulk is a bulk call. Its items are answered at once.
func (s *Sender) bulk(ctx context.Context, items []*Call) (bulk adapter.BulkAttempt) {
	if !s.KeepNothing {
		s.mu.Lock()
		s.bulks = append(s.bulks, items)
		for _, item := range items {
			item.Bulk = len(s.bulks)
		}
		s.mu.Unlock()
	}
	if s.Bulk != nil {
		if whole := s.Bulk(items); whole != nil {
			return *whole
		}
	}
	bulk.Items = make([]adapter.Attempt, len(items))
	if s.KeepNothing {
		for i := range items {
			bulk.Items[i] = s.call(ctx, items[i])
		}
	} else {
		var answers sync.WaitGroup
		var panicked atomic.Value
		for i := range items {
			answers.Go(func() {
				defer func() {
					if cause := recover(); cause != nil {
						panicked.Store(cause)
					}
				}()
				bulk.Items[i] = s.call(ctx, items[i])
			})
		}
		answers.Wait()
		if cause := panicked.Load(); cause != nil {
			panic(cause)
		}
	}
	bulk.Call = bulk.Items[0]
	bulk.Call.Requests = 1
	for i := range bulk.Items {
		if bulk.Items[i].Outcome.Settled() {
			bulk.Call = adapter.Attempt{Outcome: adapter.Delivered, Requests: 1}
		}
	}
	return bulk
}

// Whole is a bulk call that comes to the same for each item.
func Whole(items []*Call, attempt adapter.Attempt) *adapter.BulkAttempt {
	return &adapter.BulkAttempt{Call: attempt, Items: slices.Repeat([]adapter.Attempt{attempt}, len(items))}
}

// Bulks returns the items of the bulk calls, in the order in which the calls began.
func (s *Sender) Bulks() [][]*Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bulks)
}

// Sizes returns the numbers of items of the bulk calls, in the order in which they began.
func (s *Sender) Sizes() (sizes []int) {
	for _, items := range s.Bulks() {
		sizes = append(sizes, len(items))
	}
	return sizes
}

func (s *Sender) call(ctx context.Context, call *Call) adapter.Attempt {
	if s.KeepNothing {
		return s.Answer(ctx, call)
	}
	s.begin(call)
	defer s.end(call) // even if Answer panics
	call.Attempt = s.Answer(ctx, call)
	return call.Attempt
}

func (s *Sender) begin(call *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.numbers == nil {
		s.numbers = make(map[string]int)
	}
	name := call.Kind + "\x00" + call.UserID + "\x00" + call.Key + "\x00" + call.ID
	s.numbers[name]++
	call.Number = s.numbers[name]
	s.began = append(s.began, call)
	s.inFlight++
	s.most = max(s.most, s.inFlight)
}

func (s *Sender) end(call *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.Ended = time.Now()
	s.ended = append(s.ended, call)
	s.inFlight--
}

// Began returns the calls in the order in which they began. The answers of calls in flight are not
// set yet.
func (s *Sender) Began() []*Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.began)
}

// Ended returns the calls that were answered, in the order of the answers.
func (s *Sender) Ended() []*Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ended)
}

// Requests returns how many calls began.
func (s *Sender) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.began)
}

// Kinds returns the kinds of the calls, "track" or "upsert", in the order in which they began.
func (s *Sender) Kinds() (kinds []string) {
	for _, call := range s.Began() {
		kinds = append(kinds, call.Kind)
	}
	return kinds
}

// Bodies returns the bodies of the upserts in the order in which they began.
func (s *Sender) Bodies() (bodies []string) {
	for _, call := range s.Began() {
		if call.Upsert != nil {
			bodies = append(bodies, string(call.Upsert.Body))
		}
	}
	return bodies
}

// Sent returns the events as "user/key" in the order in which their calls began.
func (s *Sender) Sent() (events []string) {
	for _, call := range s.Began() {
		if call.Event != nil {
			events = append(events, call.UserID+"/"+call.Key)
		}
	}
	return events
}

// MostInFlight returns how many calls were in flight at once.
func (s *Sender) MostInFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}
