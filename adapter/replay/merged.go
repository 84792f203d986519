package replay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

// choose decides about an identify call: it is sent unchanged, or with the traits of the user's older calls, or
// skipped.
func (p *pipeline) choose(b *mappedBlock, e *event) {
	if e.line > b.seen {
		return // it came after the first reading, so it is newer
	}
	for len(b.choices) > 0 && b.choices[0].line < e.line {
		b.choices = b.choices[1:]
	}
	if len(b.choices) == 0 || b.choices[0].line != e.line {
		e.mapped = mapping.Result{Kind: mapping.KindSkip, Reason: mapping.ReasonIdentifySuperseded}
		return
	}
	c := &b.choices[0]
	if c.user != p.chosen.user(&e.mapped.Upserts[0]) {
		return // the object has changed since the first reading
	}
	e.chosen = c
	if len(c.added) > 0 {
		p.merge(e, c)
	}
}

// merge adds the traits of the user's older calls to an identify call.
func (p *pipeline) merge(e *event, c *choice) {
	traits := e.traits
	if len(traits) < len("{}") {
		traits = []byte("{}")
	}
	// The newest call's own members, then those of the older calls.
	body, added := traits[:len(traits)-1], c.added
	if len(bytes.TrimSpace(body[1:])) == 0 {
		added = added[1:] // without its comma
	}
	all := slices.Concat(body, added, []byte("}"))
	text := mapping.AppendWithTraits(make([]byte, 0, len(e.text)+len(all)), e.text, all)
	merged := p.mapLine(text, nil)
	if merged.Kind == mapping.KindUserUpsert && p.chosen.user(&merged.Upserts[0]) != c.user {
		return // an older trait leads to another account
	}
	e.text, e.mapped = text, merged
	e.identity = mergedIdentity(e.call, all)
}

// mergedIdentity returns the identity of an upsert of merged traits, from the identity of the newest call and the
// traits that are sent. Another replay of the same calls gets the same identity, a replay of more calls another one.
// Stores keep it, so it must never change.
func mergedIdentity(newest int64, traits []byte) int64 {
	text := binary.BigEndian.AppendUint64([]byte("merged"), uint64(newest))
	sum := sha256.Sum256(append(text, traits...))
	return int64(binary.BigEndian.Uint64(sum[:]) | 1) // 0 stands for a key
}

// arrival describes the event to a queue. An upsert of merged traits has its own identity whatever the mapping makes
// of it, because a redrive sends it by that identity. Without a messageId it gets a name, because a ledger finds
// nothing without one.
func (e *event) arrival(payload []byte) adapter.Arrival {
	arrival := delivery.ArrivalOf(payload, &e.mapped)
	if e.identity == 0 {
		return arrival
	}
	arrival.Keyed, arrival.Identity, arrival.Fingerprint = false, e.identity, 0
	if arrival.MessageID == "" {
		arrival.MessageID = fmt.Sprintf("merged:%016x", uint64(e.identity))
	}
	return arrival
}

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
	skips := len(b.skipped)
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
				b.events[of].mapped = mapping.Result{Kind: mapping.KindSkip}
			}
		}
	}
	b.events = slices.DeleteFunc(b.events, func(e event) bool {
		if e.mapped.Kind != mapping.KindSkip {
			return false
		}
		b.skipped = append(b.skipped, skipped{e.line, mapping.ReasonIdentifySuperseded})
		return true
	})
	if len(b.skipped) > skips {
		slices.SortFunc(b.skipped, func(a, b skipped) int { return cmp.Compare(a.line, b.line) })
	}
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
