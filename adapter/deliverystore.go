package adapter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"segment-saasquatch/mapping"
)

// DeliveryStore is what operators need of a store. It is safe for concurrent use. Find,
// Summarize and Verify may read the whole store. Of such reads few are under way at once:
// one that finds no place within seconds returns a [BusyError].
type DeliveryStore interface {
	// Find returns the newest deliveries that the filter picks, newest first, at
	// most limit of them.
	Find(ctx context.Context, filter Filter, limit int) ([]Delivery, error)
	// Bound finds the IDs between which the deliveries are that Since and Until pick, so that
	// a caller that reads page after page has it done once. It changes nothing else in the
	// filter.
	Bound(ctx context.Context, filter Filter) (Filter, error)
	// Scans says what it takes to find what the filter picks.
	Scans(ctx context.Context, filter Filter) (Scan, error)
	// Get returns one delivery with its history and payload, or ErrNoDelivery.
	Get(ctx context.Context, id int64) (*Delivery, error)
	// Payloads returns the payloads of the deliveries that have theirs still.
	Payloads(ctx context.Context, ids []int64) (map[int64]StoredPayload, error)
	// Summarize counts the deliveries that the filter picks. For a filter that picks all
	// it takes the numbers from the running totals: they have no tenants and no reasons.
	Summarize(ctx context.Context, filter Filter) ([]Summary, error)
	// Redrive makes dead and rejected deliveries pending again, and pending ones
	// due now. One that has been delivered since under the same identity becomes a
	// duplicate instead. It passes over those in any other state, and those without
	// their payload. Those that a Redelivery moves to another tenant count as new
	// there, and are duplicates of what that tenant has; it passes over those that
	// another process has in hand, or that wait for an import job.
	Redrive(ctx context.Context, redeliveries []Redelivery) (Redriven, error)
	// Purge deletes those of the deliveries that have one of the outcomes, all if
	// none is given, with their payload and history. A pending one counts as dead
	// from then on. It passes over IDs it does not know and returns how many it
	// deleted.
	Purge(ctx context.Context, ids []int64, outcomes ...Outcome) (int, error)
	// Totals returns the running totals of every connection.
	Totals(ctx context.Context) ([]Totals, error)
	// Verify counts the rows of every connection and holds them against the
	// running totals. It takes time in proportion to their number.
	Verify(ctx context.Context) ([]Conservation, error)
	// Run returns a run as it stands, with its objects, or ErrNoRun.
	Run(ctx context.Context, id int64) (*Run, []ObjectProgress, error)
	// Backlog describes the pending events of every connection.
	Backlog(ctx context.Context) ([]Backlog, error)
}

// Scan is what it takes to find deliveries beyond reading those that are found.
type Scan struct {
	// Deliveries is up to how many are read that the filter does not pick. 0 if they are
	// few.
	Deliveries int64 `json:"deliveries"`
	// Indexing says that it is because an index is not complete yet, which takes minutes
	// after an upgrade.
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

// BusyError means that a read of the whole store found no place beside others.
type BusyError struct {
	// RetryAfter is the time after which another try is worthwhile.
	RetryAfter time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("other long reads are under way, and the store runs only a few at once: "+
		"try again in %v, or name the deliveries by id or messageId", e.RetryAfter)
}

// Redelivery is a delivery to make pending again, and what today's rules make of
// it.
type Redelivery struct {
	ID int64
	// Tenant is the name of the tenant to move the delivery to, empty to leave it
	// with its own.
	Tenant                      string
	UserID, AccountID, EventKey string
	// Event, Keyed, Identity and Fingerprint are as in an [Arrival]. The last three count
	// only for a delivery without an identity of its own, or with that of an earlier
	// version.
	Event                 string
	Keyed                 bool
	Identity, Fingerprint int64
	// Bytes is the size of its payload, by which a redrive divides its work. 0 if it is not
	// known.
	Bytes int
}

// Summary is a number of deliveries that have these in common.
type Summary struct {
	Connection string         `json:"connection"`
	Tenant     string         `json:"tenant,omitempty"`
	Outcome    Outcome        `json:"outcome"`
	Reason     mapping.Reason `json:"reason,omitempty"`
	Events     int64          `json:"events"`
}

// Redriven says what became of the deliveries of a redrive.
type Redriven struct {
	// Pending are due for delivery now.
	Pending int `json:"pending"`
	// Duplicate were found to be delivered already.
	Duplicate int `json:"duplicate"`
}

// Add adds what became of others.
func (r *Redriven) Add(more Redriven) {
	r.Pending += more.Pending
	r.Duplicate += more.Duplicate
}

// Totals are the running totals of one connection since the store was made. They
// go on counting what retention or a purge has deleted.
type Totals struct {
	Connection string            `json:"connection"`
	Accepted   int64             `json:"accepted"`
	Events     map[Outcome]int64 `json:"events"`
	// PayloadBytes is how large the payloads of rejected and dead events are that are
	// kept now.
	PayloadBytes map[Outcome]int64 `json:"payload_bytes"`
}

// Conservation is the balance of one connection: every accepted event has exactly
// one outcome.
type Conservation struct {
	Totals
	// Rows are the deliveries that the store holds, by outcome.
	Rows map[Outcome]int64 `json:"rows"`
	// Removed are those that retention or a purge has deleted, by outcome.
	Removed map[Outcome]int64 `json:"removed"`
	// Faults say where the numbers disagree. None if the balance holds.
	Faults []string `json:"faults"`
}

// Backlog is what is pending of one connection, held events among it.
type Backlog struct {
	Connection string `json:"connection"`
	Events     int64  `json:"events"`
	Bytes      int64  `json:"bytes"`
	// Oldest is when the oldest pending event that is not held was received, zero if
	// there is none.
	Oldest time.Time `json:"oldest,omitzero"`
	// Held are the events among them that are not sent, by tenant.
	Held []Held `json:"held,omitempty"`
}
