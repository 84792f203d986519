package adapter

import (
	"context"

	"segment-saasquatch/mapping"
)

// Operations are what operators can do with deliveries, beside the store or
// through a running server.
type Operations interface {
	// List returns the newest deliveries that the filter picks, newest first, at
	// most limit of them.
	List(ctx context.Context, filter Filter, limit int) ([]Delivery, error)
	// Scans says what it takes to find what the filter picks.
	Scans(ctx context.Context, filter Filter) (Scan, error)
	// Show returns one delivery with its history and payload, or [ErrNoDelivery].
	Show(ctx context.Context, id int64) (*Delivery, error)
	// Stats counts the deliveries that the filter picks, and reports the running
	// totals and the backlog of all. Without a filter it counts nothing: it has the
	// numbers of the totals, by connection and outcome.
	Stats(ctx context.Context, filter Filter) (*Stats, error)
	// Verify counts every delivery and holds the numbers against the totals.
	Verify(ctx context.Context) ([]Conservation, error)
	// Redrive makes at most limit deliveries pending again, all of them if limit is
	// 0. Without outcomes in the filter it takes dead and rejected ones; others
	// than those and pending ones it refuses with a [RefusedError]. It leaves those of
	// another tenant than their connection has now. With the alias of a present
	// tenant as toTenant it takes those alone, pending ones as well, and moves them to
	// that tenant. Dry, it changes nothing and says what it would do. An error leaves
	// what is redriven by then, and comes with how much that is, as far as it is known.
	Redrive(ctx context.Context, filter Filter, limit int, toTenant string, dry bool) (*Redrive, error)
	// Purge deletes at most limit deliveries, all of them if limit is 0, with all
	// that is known of them. It refuses an empty filter. Dry, it changes nothing.
	Purge(ctx context.Context, filter Filter, limit int, dry bool) (*Purge, error)
	// Export calls yield with at most limit deliveries, all of them if limit is 0,
	// with their payloads, newest first. It ends with the first error of yield.
	Export(ctx context.Context, filter Filter, limit int, yield func(*Delivery) error) error
}

// Stats are numbers of deliveries.
type Stats struct {
	Deliveries []Summary `json:"deliveries"`
	Totals     []Totals  `json:"totals"`
	Backlog    []Backlog `json:"backlog"`
}

// Redrive is what a redrive did, or would do.
type Redrive struct {
	// Matched is how many deliveries the filter picks, as far as the limit goes.
	Matched int `json:"matched"`
	// Sent are pending now. Where nothing was changed it is those that would be.
	Sent int `json:"sent"`
	// Duplicate were found to be delivered already. Only known once it is done.
	Duplicate int `json:"duplicate"`
	// Unsendable are those that today's rules reject or skip, by reason; they are
	// left as they are.
	Unsendable map[mapping.Reason]int `json:"unsendable,omitempty"`
	// NoPayload are those whose payload is gone.
	NoPayload int `json:"no_payload"`
	// Damaged are those whose stored payload does not match its checksum.
	Damaged int `json:"damaged,omitempty"`
	// NoConnection are those of connections that are not configured any more.
	NoConnection int `json:"no_connection"`
	// Held are those that wait for an import job: their run has them sent when it is
	// resumed.
	Held int `json:"held"`
	// FiresPrograms are those to send that a replay by import jobs brought. A redrive
	// sends them one by one, for which SaaSquatch evaluates its programs and gives
	// rewards, whatever their age. The jobs leave programs alone unless asked otherwise.
	FiresPrograms int `json:"fires_programs"`
	// OtherTenant are those that were left since they are of another tenant than
	// their connection has now.
	OtherTenant TenantMoves `json:"other_tenant,omitempty"`
	// Moved are those that were sent to another tenant than they were accepted for, or
	// are duplicates there.
	Moved TenantMoves `json:"moved,omitempty"`
	// InHand are those that were not moved since a process has them in hand, or has
	// changed them meanwhile. Only known once it is done.
	InHand int `json:"in_hand,omitempty"`
	// Before is the lowest id that was looked at. A redrive with it in the filter goes on
	// with those below. 0 if the filter picked none.
	Before int64 `json:"before,omitempty"`
}

// Add adds what a redrive of further deliveries did.
func (r *Redrive) Add(more *Redrive) {
	r.Matched += more.Matched
	r.Sent += more.Sent
	r.Duplicate += more.Duplicate
	for reason, n := range more.Unsendable {
		if r.Unsendable == nil {
			r.Unsendable = make(map[mapping.Reason]int)
		}
		r.Unsendable[reason] += n
	}
	r.NoPayload += more.NoPayload
	r.Damaged += more.Damaged
	r.NoConnection += more.NoConnection
	r.Held += more.Held
	r.FiresPrograms += more.FiresPrograms
	for _, move := range more.OtherTenant {
		r.OtherTenant.Add(move)
	}
	for _, move := range more.Moved {
		r.Moved.Add(move)
	}
	r.InHand += more.InHand
	if more.Before > 0 {
		r.Before = more.Before
	}
}

// Purge is what a purge did, or would do.
type Purge struct {
	// Purged is how many deliveries were deleted, by the outcome they had.
	Purged map[Outcome]int `json:"purged"`
}

// RefusedError is an operation that is not carried out, with the remedy.
type RefusedError struct{ Problem string }

func (e *RefusedError) Error() string { return e.Problem }
