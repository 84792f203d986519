package adapter

import (
	"context"

	"segment-saasquatch/mapping"
)

// Operations are the operators' actions on deliveries, beside the store or through a running
// server.
type Operations interface {
	// List returns the newest deliveries that the filter picks, newest first, at most limit.
	List(ctx context.Context, filter Filter, limit int) ([]Delivery, error)
	// Scans estimates the cost of finding the deliveries that the filter picks.
	Scans(ctx context.Context, filter Filter) (Scan, error)
	// Show returns one delivery with its history and payload, or [ErrNoDelivery].
	Show(ctx context.Context, id int64) (*Delivery, error)
	// Stats counts the deliveries that the filter picks, and reports the running totals and the
	// backlog of all. Without a filter it takes the counts from the totals, by connection and
	// outcome.
	Stats(ctx context.Context, filter Filter) (*Stats, error)
	// Verify counts every delivery and compares the numbers with the totals.
	Verify(ctx context.Context) ([]Conservation, error)
	// Redrive makes at most limit deliveries pending again, all if limit is 0. Without outcomes in
	// the filter it takes dead and rejected deliveries. It refuses outcomes other than those and
	// pending with a [RefusedError]. It leaves deliveries of a tenant that their connection no
	// longer has. If toTenant is the alias of a present tenant, it takes exactly those, pending
	// ones too, and moves them to that tenant. With dry it changes nothing and reports what it
	// would do. An error does not undo the deliveries redriven before; the result counts them, as
	// far as their number is known.
	Redrive(ctx context.Context, filter Filter, limit int, toTenant string, dry bool) (*Redrive, error)
	// Purge deletes at most limit deliveries, all if limit is 0, with payload and history. It
	// refuses an empty filter. With dry it changes nothing.
	Purge(ctx context.Context, filter Filter, limit int, dry bool) (*Purge, error)
	// Export calls yield with at most limit deliveries, all if limit is 0, with their payloads,
	// newest first. It ends with the first error of yield.
	Export(ctx context.Context, filter Filter, limit int, yield func(*Delivery) error) error
}

// Stats counts deliveries.
type Stats struct {
	Deliveries []Summary `json:"deliveries"`
	Totals     []Totals  `json:"totals"`
	Backlog    []Backlog `json:"backlog"`
}

// Redrive is the result of a redrive, or of a dry one.
type Redrive struct {
	// Matched is how many deliveries the filter picks, up to the limit.
	Matched int `json:"matched"`
	// Sent are pending now, or would be after a dry redrive.
	Sent int `json:"sent"`
	// Duplicate have been delivered already. A dry redrive does not know them.
	Duplicate int `json:"duplicate"`
	// Unsendable are deliveries that today's rules reject or skip, by reason. Redrive leaves them.
	Unsendable map[mapping.Reason]int `json:"unsendable,omitempty"`
	// NoPayload are deliveries without a payload.
	NoPayload int `json:"no_payload"`
	// Damaged are deliveries whose stored payload does not match its checksum.
	Damaged int `json:"damaged,omitempty"`
	// NoConnection are deliveries of connections that are no longer configured.
	NoConnection int `json:"no_connection"`
	// Held are deliveries that wait for an import job. Their run sends them when it is resumed.
	Held int `json:"held"`
	// FiresPrograms are deliveries to send that a replay by import jobs brought. A redrive sends
	// them one by one. SaaSquatch then evaluates its programs and gives rewards, whatever the age
	// of the event. Import jobs fire no programs unless they are asked to.
	FiresPrograms int `json:"fires_programs"`
	// OtherTenant are deliveries that were left, because their connection has another tenant now.
	OtherTenant TenantMoves `json:"other_tenant,omitempty"`
	// Moved are deliveries that were sent to another tenant than they were accepted for, or that
	// are duplicates there.
	Moved TenantMoves `json:"moved,omitempty"`
	// InHand are deliveries that were not moved, because a process has leased or changed them
	// meanwhile. A dry redrive does not know them.
	InHand int `json:"in_hand,omitempty"`
	// Before is the lowest id that was looked at. A redrive with it in the filter goes on below. 0
	// if the filter picked none.
	Before int64 `json:"before,omitempty"`
}

// Add adds the result of a redrive of further deliveries.
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

// Purge is the result of a purge, or of a dry one.
type Purge struct {
	// Purged is how many deliveries were deleted, by the outcome they had.
	Purged map[Outcome]int `json:"purged"`
}

// RefusedError means that an operation was not carried out. Problem ends with the remedy.
type RefusedError struct{ Problem string }

func (e *RefusedError) Error() string { return e.Problem }
