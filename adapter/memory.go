package adapter

import (
	"hash/maphash"

	lru "github.com/hashicorp/golang-lru/v2"

	"segment-saasquatch/mapping"
)

// memorySize is how many events of each kind a Forwarder remembers, about 20 MB
// when full. Segment's largest batch has 4000.
const memorySize = 100_000

// memory is what a Forwarder knows of events that Segment may send again. It is
// lost with the process.
//
// Delivered events are remembered because Segment sends a whole request again for
// one event that failed. Without that, a redelivery would ask SaaSquatch about
// every event of the batch once more, and could fail on another one each time;
// and SaaSquatch would take those without an idempotency key twice.
//
// Failed attempts are remembered so that a later 409 can be told from an
// ordinary one.
type memory struct {
	seed   maphash.Seed
	passed *lru.Cache[identity, struct{}]
	failed *lru.Cache[string, struct{}]
}

// identity identifies an event by its messageId and its body, because messageIds
// that are no valid keys are often not unique.
type identity struct {
	messageID string
	body      uint64
}

func newMemory() *memory {
	passed, err := lru.New[identity, struct{}](memorySize)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	failed, err := lru.New[string, struct{}](memorySize)
	if err != nil {
		panic(err)
	}
	return &memory{seed: maphash.MakeSeed(), passed: passed, failed: failed}
}

func (m *memory) identify(event *mapping.UserEvent, messageID string) identity {
	return identity{messageID, maphash.Bytes(m.seed, event.Body)}
}

// delivered reports whether the event is at SaaSquatch already. An event without a
// messageId never counts: two that look alike may both be meant.
func (m *memory) delivered(event *mapping.UserEvent, messageID string) bool {
	return messageID != "" && m.passed.Contains(m.identify(event, messageID))
}

// failedBefore reports whether an attempt to send the event failed.
func (m *memory) failedBefore(event *mapping.UserEvent) bool {
	return m.failed.Contains(event.IdempotencyKey)
}

// record remembers what an attempt came to.
func (m *memory) record(event *mapping.UserEvent, messageID string, outcome Outcome) {
	if messageID == "" {
		return
	}
	if outcome == Delivered || outcome == Duplicate {
		m.passed.Add(m.identify(event, messageID), struct{}{})
	}
	switch {
	case event.IdempotencyKey == "":
	case outcome == Pending:
		m.failed.Add(event.IdempotencyKey, struct{}{})
	default:
		m.failed.Remove(event.IdempotencyKey)
	}
}
