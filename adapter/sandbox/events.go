package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Event is a user event that the sandbox accepted. The JSON names are SaaSquatch's where it has one.
type Event struct {
	// Seq counts accepted events from 1, without gaps.
	Seq            uint64 `json:"seq"`
	TenantAlias    string `json:"tenantAlias"`
	AccountID      string `json:"accountId"`
	UserID         string `json:"userId"`
	Key            string `json:"key"`
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// Fields is the JSON object as it was sent, byte by byte; nil if there was none. It is shared, so callers must
	// not change it.
	Fields json.RawMessage `json:"fields,omitempty"`
	// DateTriggered is in Unix milliseconds; nil if it was not sent.
	DateTriggered *int64 `json:"dateTriggered,omitempty"`
	// DateReceived is in Unix milliseconds, by the sandbox's clock.
	DateReceived int64 `json:"dateReceived"`
	// Import is the import job of the event, shared by all its events; nil if the event came by a call of its own.
	Import *Import `json:"import,omitempty"`
}

// Events returns the latest [Options.MaxEvents] accepted user events in the order of their arrival. It runs due jobs
// first.
func (s *Server) Events() []Event {
	s.runJobs()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.all()
}

// trackEvents answers a Track User Event call.
func (s *Server) trackEvents(t *tenant, a *attempt) answer {
	got, apiErr := s.track(t, a.scratch, userRef{a.call.accountID, a.call.userID}, a.body, a.lost)
	switch {
	case apiErr != nil:
		return apiErr.answer(a.scratch)
	case a.lost:
		return answer{}
	}
	return eventsAnswer(a, got)
}

// tracked are the accepted events of a user. They are valid until the scratch is freed.
type tracked struct {
	events   []parsedEvent
	first    uint64 // number of the first event
	received int64  // in Unix milliseconds
}

// track accepts all events of a body of a Track User Event call, or none. REST and GraphQL share it. A lost attempt
// has no effect, except to use up its key with BurnKeys.
func (s *Server) track(t *tenant, scratch *scratch, ref userRef, body []byte, lost bool) (tracked, *apiError) {
	if lost && !s.burnKeys {
		return tracked{}, nil
	}
	parsed, apiErr := parseEvents(scratch, body, ref.accountID, ref.userID)
	if apiErr != nil || lost {
		if s.burnKeys {
			s.burn(t, keyOf(&scratch.reader, body))
		}
		return tracked{}, apiErr
	}
	return s.accept(t, ref, body, parsed)
}

// preview does what track does, and has no effect.
func (s *Server) preview(t *tenant, scratch *scratch, ref userRef, body []byte) (tracked, *apiError) {
	parsed, apiErr := parseEvents(scratch, body, ref.accountID, ref.userID)
	if apiErr != nil {
		return tracked{}, apiErr
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	return tracked{parsed.events, s.log.last + 1, now.UnixMilli()}, s.check(t, ref, parsed.idempotencyKey, now)
}

// accept keeps all events of a valid body, or none.
func (s *Server) accept(t *tenant, ref userRef, body []byte, parsed eventBody) (tracked, *apiError) {
	// Allocate before the lock.
	dates := make([]int64, len(parsed.events))
	detachFields(parsed.events, body)
	key := parsed.idempotencyKey

	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if apiErr := s.admit(t, ref, key, now); apiErr != nil {
		return tracked{}, apiErr
	}
	got := tracked{parsed.events, s.log.last + 1, now.UnixMilli()}
	for i, p := range parsed.events {
		event := Event{
			TenantAlias:    t.alias,
			AccountID:      ref.accountID,
			UserID:         ref.userID,
			Key:            p.key,
			IdempotencyKey: key,
			Fields:         p.fields,
			DateReceived:   got.received,
		}
		if p.dated {
			dates[i] = p.triggered
			event.DateTriggered = &dates[i]
		}
		s.log.add(event, s.maxEvents)
		t.eventKeys[p.key] = struct{}{}
	}
	s.counts.Load().accepted(len(parsed.events), key != "")
	return got, nil
}

// check refuses valid events for their key or their user. Assumed is the order: a used key conflicts even if the user
// is unknown. The caller holds the mutex.
func (s *Server) check(t *tenant, ref userRef, key string, now time.Time) *apiError {
	if key != "" {
		if _, seen := t.keys.seen(key, now); seen {
			return errConflict
		}
	}
	if apiErr := t.checkTracked(ref); apiErr != nil {
		return apiErr
	}
	if _, known := t.users[ref]; !known && s.users == KnownUsers {
		return errUserNotFound
	}
	return nil
}

// admit checks the key and the user of valid events, and uses up the key. The caller holds the mutex.
func (s *Server) admit(t *tenant, ref userRef, key string, now time.Time) *apiError {
	apiErr := s.check(t, ref, key, now)
	switch {
	case apiErr == errConflict:
		use, _ := t.keys.seen(key, now)
		s.counts.Load().conflict(use)
	case key != "" && (apiErr == nil || s.burnKeys):
		t.keys.add(key, now, apiErr == nil)
	}
	return apiErr
}

// detachFields copies the fields out of a body that is much larger, so that the bound on kept events holds.
func detachFields(events []parsedEvent, body []byte) {
	size := 0
	for i := range events {
		size += len(events[i].fields)
	}
	if len(body) < 2*size+1024 {
		return
	}
	for i := range events {
		events[i].fields = bytes.Clone(events[i].fields) // of nil it is nil
	}
}

// burn uses up the idempotency key of a failed attempt; an empty key has no effect.
func (s *Server) burn(t *tenant, key string) {
	if key == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if _, seen := t.keys.seen(key, now); !seen {
		t.keys.add(key, now, false)
	}
}

// eventsAnswer writes the answer in the shape of the example in SaaSquatch's API definition.
func eventsAnswer(a *attempt, got tracked) answer {
	out := append(a.scratch.out[:0], `{"userId":`...)
	out = appendString(out, a.call.userID)
	out = append(out, `,"accountId":`...)
	out = appendString(out, a.call.accountID)
	out = append(out, `,"events":[`...)
	for i := range got.events {
		if i > 0 {
			out = append(out, ',')
		}
		out = got.events[i].appendJSON(out, got.first+uint64(i), got.received)
	}
	out = append(out, "]}"...)
	a.scratch.out = out
	return answer{status: http.StatusOK, body: out}
}

// appendJSON appends the event in the shape of SaaSquatch's answers.
func (e *parsedEvent) appendJSON(out []byte, seq uint64, received int64) []byte {
	out = append(out, `{"id":"`...)
	out = appendEventID(out, received, seq)
	out = append(out, `","key":`...)
	out = appendString(out, e.key)
	out = append(out, `,"fields":`...)
	out = append(out, e.fieldsJSON()...)
	out = append(out, `,"dateTriggered":`...)
	out = strconv.AppendInt(out, e.triggeredAt(received), 10)
	out = append(out, `,"dateReceived":`...)
	out = strconv.AppendInt(out, received, 10)
	out = append(out, `,"dateProcessed":`...)
	out = strconv.AppendInt(out, received, 10)
	return append(out, '}')
}

func (e *parsedEvent) fieldsJSON() []byte {
	if e.fields == nil {
		return []byte("{}")
	}
	return e.fields
}

// triggeredAt returns dateTriggered. Assumed: the time of receipt stands for a missing one.
func (e *parsedEvent) triggeredAt(received int64) int64 {
	if e.dated {
		return e.triggered
	}
	return received
}

// appendEventID appends an id of 24 hexadecimal digits, as in SaaSquatch's example: 8 for the second of receipt, 16
// for the event's number.
func appendEventID(out []byte, received int64, seq uint64) []byte {
	var id [12]byte
	binary.BigEndian.PutUint32(id[:], uint32(time.UnixMilli(received).Unix()))
	binary.BigEndian.PutUint64(id[4:], seq)
	return hex.AppendEncode(out, id[:])
}
