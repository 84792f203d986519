package replay

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// supersede skips a chosen identify call if the ledger has a newer call of the user: one that came live and that
// the archive does not hold.
//
// The messageId tells whether the archive holds a call of the ledger, because the ledger seldom has the call's own
// time. It has the time of acceptance, and Segment retries a call for hours. The holes: a call that comes live
// between this look and the delivery; a call of an earlier replay, unless its payload is kept; and a newer call
// without a messageId, unless its payload is kept, if the archive has a call of the user without one.
func (o *Options) supersede(ctx context.Context, b *mappedBlock) error {
	if o.Chosen == nil || o.Ledger == nil {
		return nil
	}
	var asked []int // events of the block
	for i := range b.events {
		if b.events[i].chosen != nil && b.events[i].isSent() {
			asked = append(asked, i)
		}
	}
	var superseded []int
	for part := range slices.Chunk(asked, adapter.MaxIdentifyQueries) {
		queries := make([]adapter.IdentifyQuery, len(part))
		for i, of := range part {
			e := &b.events[of]
			user := &e.mapped.Upserts[0]
			queries[i] = adapter.IdentifyQuery{UserID: user.UserID, AccountID: user.AccountID, Since: math.MinInt64}
			if e.timed {
				queries[i].Since = e.millis
			}
		}
		known, err := o.Ledger.Store.Identifies(ctx, o.Ledger.Connection, o.Ledger.Tenant, queries)
		if err != nil {
			return fmt.Errorf("ask the ledger for newer profiles: %w", err)
		}
		for i := range known {
			of := part[known[i].Query]
			// By its own time a call is newer than all calls of the archive.
			if known[i].Own || !b.events[of].chosen.holds(o.Chosen.messageHash(known[i].MessageID)) {
				superseded = append(superseded, of)
			}
		}
	}
	b.supersede(superseded)
	return nil
}

// holds reports whether a messageId may be one of the user's calls in the archive.
func (c *choice) holds(hash uint64) bool {
	if hash == 0 {
		return c.unnamed
	}
	for known := range slices.Chunk(c.hashes, 8) {
		if binary.BigEndian.Uint64(known) == hash {
			return true
		}
	}
	return false
}

// supersede turns events into skipped lines. An event may be in the list several times.
func (b *mappedBlock) supersede(events []int) {
	if len(events) == 0 {
		return
	}
	for _, i := range events {
		b.events[i].mapped = mapping.Result{Kind: mapping.KindSkip}
	}
	b.events = slices.DeleteFunc(b.events, func(e event) bool {
		if e.mapped.Kind != mapping.KindSkip {
			return false
		}
		b.skipped = append(b.skipped, skipped{e.line, mapping.ReasonIdentifySuperseded})
		return true
	})
	slices.SortFunc(b.skipped, func(a, b skipped) int { return cmp.Compare(a.line, b.line) })
}
