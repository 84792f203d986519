package replay

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// supersede skips the chosen identify calls of a block whose users have a newer profile
// in the ledger: a call that came live and that the archive does not hold.
//
// A call of the ledger is known by its messageId to be in the archive or not, because
// the ledger seldom has its own time. It has the time of its acceptance, and Segment
// sends a call again for hours. The holes: what comes live between this look and the
// delivery; what earlier replays brought, unless payloads are kept; and a newer call
// without a messageId, unless its payload is kept, if the archive has a call of the
// user without one.
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
		known, err := o.Ledger.Ledger.Identifies(ctx, o.Ledger.Connection, o.Ledger.Tenant, queries)
		if err != nil {
			return fmt.Errorf("ask the ledger for newer profiles: %w", err)
		}
		for i := range known {
			of := part[known[i].Query]
			// By its own time it is newer than all calls of the archive.
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

// supersede makes events skipped lines.
func (b *mappedBlock) supersede(events []int) {
	if len(events) == 0 {
		return
	}
	for _, i := range events {
		e := &b.events[i]
		if e.mapped.Kind == mapping.KindSkip {
			continue // there is more than one newer call
		}
		e.mapped = mapping.Result{Kind: mapping.KindSkip}
		b.skipped = append(b.skipped, skipped{e.line, mapping.ReasonIdentifySuperseded})
	}
	b.events = slices.DeleteFunc(b.events, func(e event) bool { return e.mapped.Kind == mapping.KindSkip })
	slices.SortFunc(b.skipped, func(a, b skipped) int { return int(a.line - b.line) })
}
