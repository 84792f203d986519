package adapter

import (
	"encoding/json"
	"time"

	"segment-saasquatch/mapping"
)

// Delivery is what a store knows about one accepted event.
type Delivery struct {
	// ID is unique in the store and grows with the order of acceptance.
	ID         int64  `json:"id"`
	Connection string `json:"connection"`
	// MessageID is as in an [Arrival], cut to 512 bytes.
	MessageID string `json:"message_id,omitempty"`
	UserID    string `json:"user_id,omitempty"`
	AccountID string `json:"account_id,omitempty"`
	// Event is Segment's name of the event, empty if the call has none. It is empty too for
	// deliveries of versions that did not store it, and once a store holds as many names as it may.
	Event    string         `json:"event,omitempty"`
	EventKey string         `json:"event_key,omitempty"`
	Outcome  Outcome        `json:"outcome"`
	Reason   mapping.Reason `json:"reason,omitempty"`
	Detail   string         `json:"detail,omitempty"`
	// Status is the last HTTP status of SaaSquatch, 0 if there was none.
	Status int `json:"status,omitempty"`
	// Call is the last call to SaaSquatch, 0 if there was none, or if an earlier version made it.
	Call Call `json:"call,omitzero"`
	// Attempts is the number of attempts that count.
	Attempts       int        `json:"attempts"`
	ReceivedAt     time.Time  `json:"received_at"`
	FirstAttemptAt *time.Time `json:"first_attempt_at,omitempty"`
	LastAttemptAt  *time.Time `json:"last_attempt_at,omitempty"`
	// SettledAt is when the outcome was recorded, nil while it is pending.
	SettledAt *time.Time `json:"settled_at,omitempty"`
	// DueAt is when the next attempt may begin, nil unless pending.
	DueAt *time.Time `json:"due_at,omitempty"`
	// Ambiguous says that SaaSquatch may have processed an earlier attempt.
	Ambiguous bool `json:"ambiguous,omitempty"`
	// Tenant is the name of the tenant that the event was accepted for or moved to.
	Tenant string `json:"tenant,omitempty"`
	// Run is the replay that brought the event, 0 for live traffic.
	Run int64 `json:"run,omitempty"`
	// Repeats is how often replays brought the payload of a rejected event again.
	Repeats int64 `json:"repeats,omitempty"`
	// History lists the attempts that did not deliver, oldest first. Only Get fills it.
	History []Try `json:"history,omitempty"`
	// Payload is the event as Segment sent it, nil once it is dropped. Only Get fills it.
	Payload json.RawMessage `json:"payload,omitempty"`
	// PayloadText stands in its place where it is not JSON, or is damaged.
	PayloadText string `json:"payload_text,omitempty"`
	// PayloadDropped says that a rejected or dead event has lost its payload, because
	// dead_letters.max_bytes left no room for it.
	PayloadDropped bool `json:"payload_dropped,omitempty"`
	// PayloadDamaged says that the stored payload does not match its checksum. Such a payload is
	// never sent. Only Get fills it.
	PayloadDamaged bool `json:"payload_damaged,omitempty"`
}

// SetPayload fills in the payload in a form that can be written as JSON. A damaged payload becomes
// text, so that no reader takes it for an event.
func (d *Delivery) SetPayload(payload StoredPayload) {
	d.Payload, d.PayloadText, d.PayloadDamaged = nil, "", payload.Damaged
	switch {
	case payload.Bytes == nil:
	case !payload.Damaged && json.Valid(payload.Bytes):
		d.Payload = payload.Bytes
	default:
		d.PayloadText = string(payload.Bytes)
	}
}

// Try is one attempt that did not deliver.
type Try struct {
	Number   int            `json:"number"`
	At       time.Time      `json:"at"`
	Duration time.Duration  `json:"duration_ns"`
	Call     Call           `json:"call,omitzero"`
	Status   int            `json:"status,omitempty"`
	Reason   mapping.Reason `json:"reason"`
	Detail   string         `json:"detail,omitempty"`
}

// Lag returns the time from acceptance to the outcome, 0 while it is pending.
func (d *Delivery) Lag() time.Duration {
	if d.SettledAt == nil {
		return 0
	}
	return d.SettledAt.Sub(d.ReceivedAt)
}

// Filter picks deliveries. A zero field picks all.
type Filter struct {
	// IDs picks these alone.
	IDs        []int64
	Connection string
	Outcomes   []Outcome
	Reason     mapping.Reason
	// Event is Segment's name. It picks no delivery without a name.
	Event     string
	EventKey  string
	UserID    string
	MessageID string
	// Run picks the events of a replay.
	Run int64
	// Tenant picks the events of a tenant, by its name or by its alias alone.
	Tenant string
	// Former picks the events of tenants that their connections no longer have.
	Former bool
	// Since and Until bound ReceivedAt: from Since on, before Until.
	Since, Until time.Time
	// Before picks IDs below it, as a cursor: the last ID of the page before. 0 for all.
	Before int64
	// After picks IDs above it. 0 for all.
	After int64
	// Bounded says that Before and After narrow Since and Until down, as far as ids and times are
	// in step; see [DeliveryStore].
	Bounded bool
}

// ForRedrive returns the filter with which a redrive finds deliveries.
func (f Filter) ForRedrive(toTenant string) Filter {
	if len(f.Outcomes) == 0 {
		f.Outcomes = []Outcome{Dead, Rejected}
		if toTenant != "" {
			f.Outcomes = append(f.Outcomes, Pending)
		}
	}
	f.Former = f.Former || toTenant != ""
	return f
}

// PicksAll reports whether the filter picks every delivery.
func (f *Filter) PicksAll() bool {
	return f.IDs == nil && f.Connection == "" && len(f.Outcomes) == 0 && f.Reason == "" && f.Event == "" &&
		f.EventKey == "" && f.UserID == "" && f.MessageID == "" && f.Run == 0 && f.Tenant == "" && !f.Former &&
		f.Since.IsZero() && f.Until.IsZero() && f.Before == 0 && f.After == 0
}

// UpsertEventKey stands in place of an event key for the upserts of a user, so that lists and logs
// tell an identify from events. The mapping makes no event key with an @. A key that the
// configuration sets verbatim could be the same, and would only look alike.
const UpsertEventKey = "@identify"
