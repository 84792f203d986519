package adapter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"segment-saasquatch/mapping"
)

// DeliveryStore is what operators need of a store. It is safe for concurrent use. Find, Summarize
// and Verify may read the whole store. Only a few such reads run at once: one that finds no place
// within seconds returns a [BusyError].
type DeliveryStore interface {
	// Find returns the newest deliveries that the filter picks, newest first, at
	// most limit of them.
	Find(ctx context.Context, filter Filter, limit int) ([]Delivery, error)
	// Bound replaces Since and Until of the filter by the IDs that bound the same deliveries. A
	// caller that reads page after page calls it once. It changes nothing else in the filter.
	Bound(ctx context.Context, filter Filter) (Filter, error)
	// Scans estimates the cost of finding the deliveries that the filter picks.
	Scans(ctx context.Context, filter Filter) (Scan, error)
	// Get returns one delivery with its history and payload, or ErrNoDelivery.
	Get(ctx context.Context, id int64) (*Delivery, error)
	// Payloads returns the payloads of the deliveries that still have one.
	Payloads(ctx context.Context, ids []int64) (map[int64]StoredPayload, error)
	// Summarize counts the deliveries that the filter picks. For a filter that picks all it takes
	// the numbers from the running totals, which have no tenants and no reasons.
	Summarize(ctx context.Context, filter Filter) ([]Summary, error)
	// Redrive makes dead and rejected deliveries pending again, and pending ones due now. A
	// delivery whose event was delivered since then, under the same identity, becomes a duplicate
	// instead. Redrive passes over deliveries in another state and deliveries without payload.
	// A delivery that a Redelivery moves to another tenant counts as new there, and may be a
	// duplicate of one that this tenant has. Redrive does not move a delivery that another process
	// has leased, or that waits for an import job.
	Redrive(ctx context.Context, redeliveries []Redelivery) (Redriven, error)
	// Purge deletes the deliveries that have one of the outcomes, all if none is given, with their
	// payload and history. A pending one counts as dead from then on. Purge passes over unknown
	// IDs, and returns how many deliveries it deleted.
	Purge(ctx context.Context, ids []int64, outcomes ...Outcome) (int, error)
	// Totals returns the running totals of every connection.
	Totals(ctx context.Context) ([]Totals, error)
	// Verify counts the rows of every connection and compares them with the running totals. It
	// takes time in proportion to their number.
	Verify(ctx context.Context) ([]Conservation, error)
	// Run returns a run as it stands, with its objects, or ErrNoRun.
	Run(ctx context.Context, id int64) (*Run, []ObjectProgress, error)
	// Backlog describes the pending events of every connection.
	Backlog(ctx context.Context) ([]Backlog, error)
}

// Scan is the cost of finding deliveries, beyond reading the deliveries found.
type Scan struct {
	// Deliveries is the most deliveries that are read although the filter does not pick them. 0 if
	// they are few.
	Deliveries int64 `json:"deliveries"`
	// Indexing says that an incomplete index is the cause. After an upgrade it is complete within
	// minutes.
	Indexing bool `json:"indexing,omitempty"`
}

// StoredPayload is the payload of a delivery.
type StoredPayload struct {
	Bytes []byte
	// Damaged says that it is not what was stored, by its checksum.
	Damaged bool
}

// ErrNoDelivery means that the store has no delivery with this ID.
var ErrNoDelivery = errors.New("no delivery with this id")

// BusyError means that too many other reads of the whole store are running.
type BusyError struct {
	// RetryAfter is when another try is worthwhile.
	RetryAfter time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("other long reads are running, and the store runs only a few at once: "+
		"try again in %v, or name the deliveries by id or messageId", e.RetryAfter)
}

// Redelivery is a delivery to make pending again, with the result of today's rules.
type Redelivery struct {
	ID int64
	// Tenant is the name of the tenant to move the delivery to, empty to leave it.
	Tenant                      string
	UserID, AccountID, EventKey string
	// Event, Keyed, Identity and Fingerprint are as in an [Arrival]. The last three count
	// only for a delivery without an identity of its own, or with that of an earlier
	// version.
	Event                 string
	Keyed                 bool
	Identity, Fingerprint int64
	// Bytes is the size of its payload, by which a redrive divides its work. 0 if it is unknown.
	Bytes int
}

// Summary counts the deliveries with the same values.
type Summary struct {
	Connection string         `json:"connection"`
	Tenant     string         `json:"tenant,omitempty"`
	Outcome    Outcome        `json:"outcome"`
	Reason     mapping.Reason `json:"reason,omitempty"`
	Events     int64          `json:"events"`
}

// Redriven counts the deliveries of a redrive by their new state.
type Redriven struct {
	// Pending are due for delivery now.
	Pending int `json:"pending"`
	// Duplicate have been delivered already.
	Duplicate int `json:"duplicate"`
}

// Add adds the counts of other deliveries.
func (r *Redriven) Add(more Redriven) {
	r.Pending += more.Pending
	r.Duplicate += more.Duplicate
}

// Totals are the running totals of one connection since the store was made. They include the
// deliveries that retention or a purge has deleted.
type Totals struct {
	Connection string            `json:"connection"`
	Accepted   int64             `json:"accepted"`
	Events     map[Outcome]int64 `json:"events"`
	// PayloadBytes is the size of the stored payloads of rejected and dead events.
	PayloadBytes map[Outcome]int64 `json:"payload_bytes"`
}

// Conservation is the balance of one connection: every accepted event has exactly one outcome.
type Conservation struct {
	Totals
	// Rows are the deliveries that the store holds, by outcome.
	Rows map[Outcome]int64 `json:"rows"`
	// Removed are the deliveries that retention or a purge has deleted, by outcome.
	Removed map[Outcome]int64 `json:"removed"`
	// Faults say where the numbers disagree. None if the balance holds.
	Faults []string `json:"faults"`
}

// Backlog is the pending events of one connection, including held ones.
type Backlog struct {
	Connection string `json:"connection"`
	Events     int64  `json:"events"`
	Bytes      int64  `json:"bytes"`
	// Oldest is when the oldest pending event was received that is not held; zero if there is none.
	Oldest time.Time `json:"oldest,omitzero"`
	// Held are the events among them that are not sent, by tenant.
	Held []Held `json:"held,omitempty"`
}
