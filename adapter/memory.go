package adapter

import (
	"hash/maphash"

	lru "github.com/hashicorp/golang-lru/v2"

	"segment-saasquatch/mapping"
)

// memorySize is how many events of each kind a Forwarder remembers, about 15 MB
// when full.
const memorySize = 100_000

// memory is what a Forwarder knows of events that it sent before and that
// Segment may send again. It is lost with the process.
//
// Events without an idempotency key are remembered once delivered: SaaSquatch
// would take them twice when Segment sends the whole request again because of
// another event in it. Events with a key are remembered once an attempt failed,
// so that a later 409 can be told from an ordinary one.
type memory struct {
	seed     maphash.Seed
	unkeyed  *lru.Cache[unkeyedEvent, struct{}]
	failures *lru.Cache[string, struct{}]
}

// unkeyedEvent identifies an event by its messageId and its body, because
// messageIds that are no valid keys are often not unique either.
type unkeyedEvent struct {
	messageID string
	body      uint64
}

func newMemory() *memory {
	unkeyed, err := lru.New[unkeyedEvent, struct{}](memorySize)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	failures, err := lru.New[string, struct{}](memorySize)
	if err != nil {
		panic(err)
	}
	return &memory{seed: maphash.MakeSeed(), unkeyed: unkeyed, failures: failures}
}

func (m *memory) identify(event *mapping.UserEvent, messageID string) unkeyedEvent {
	return unkeyedEvent{messageID, maphash.Bytes(m.seed, event.Body)}
}

// delivered reports whether the event has no key and was delivered before. An
// event without a messageId never counts: two that look alike may both be meant.
func (m *memory) delivered(event *mapping.UserEvent, messageID string) bool {
	return event.IdempotencyKey == "" && messageID != "" && m.unkeyed.Contains(m.identify(event, messageID))
}

// failed reports whether an attempt to send the event failed before.
func (m *memory) failed(event *mapping.UserEvent) bool {
	return m.failures.Contains(event.IdempotencyKey)
}

// record remembers what an attempt came to.
func (m *memory) record(event *mapping.UserEvent, messageID string, outcome Outcome) {
	switch {
	case event.IdempotencyKey == "" && messageID == "":
	case event.IdempotencyKey == "" && outcome == Delivered:
		m.unkeyed.Add(m.identify(event, messageID), struct{}{})
	case event.IdempotencyKey == "":
	case outcome == Pending:
		m.failures.Add(event.IdempotencyKey, struct{}{})
	default:
		m.failures.Remove(event.IdempotencyKey)
	}
}
