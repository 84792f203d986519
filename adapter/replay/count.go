package replay

import (
	"context"
	"fmt"
	"math"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Ledger knows what has been delivered, or is pending.
type Ledger interface {
	Known(ctx context.Context, connection, tenant string, arrivals []adapter.Arrival) ([]mapping.Reason, error)
	Identifies(ctx context.Context, connection, tenant string, queries []adapter.IdentifyQuery) ([]adapter.KnownIdentify, error)
}

// LookUp is where to look for what has been delivered.
type LookUp struct {
	Ledger             Ledger
	Connection, Tenant string
}

// Counted is what a dry run finds: what a replay would do.
type Counted struct {
	Counts
	// Outcomes are those that the events would have. Pending are those that would
	// be sent, a request each.
	Outcomes []adapter.Tally
	// Faults are the objects that could not be read to their ends.
	Faults []adapter.ObjectProgress
}

// Count reads the blocks and says what would become of their events, and sends
// and stores nothing. The look is what it finds duplicates by, nil for the archive
// alone. It keeps 18 to 30 bytes for each event that would be sent.
func Count(ctx context.Context, look *LookUp, spec *Spec, blocks Blocks, opts Options) (*Counted, error) {
	opts = opts.withDefaults()
	opts.Ledger = look
	c := &counting{Options: opts, spec: spec, counts: newCounts(), outcomes: make(tallies), fresh: newFresh(look)}
	err := opts.newPipeline(spec, blocks).run(ctx, c.take)
	if err == errLimit {
		err = nil
	}
	return &Counted{Counts: *c.counts, Outcomes: c.outcomes.list(), Faults: c.faults}, err
}

// counting counts what is read.
type counting struct {
	Options
	spec     *Spec
	counts   *Counts
	outcomes tallies
	faults   []adapter.ObjectProgress
	fresh    *fresh
	// send is told of each event that would be sent, nil if nobody is.
	send func(*mapping.Result) error
	sent int64
}

func (c *counting) take(ctx context.Context, b *mappedBlock) error {
	if err := c.supersede(ctx, b); err != nil {
		return err
	}
	reasons, err := c.fresh.duplicates(ctx, b.events)
	if err != nil {
		return err
	}
	skipped := b.skipped
	skipTo := func(line int64) {
		for len(skipped) > 0 && skipped[0].line < line {
			c.outcomes.add(adapter.Skipped, skipped[0].reason, 1)
			c.counts.Lines++
			skipped = skipped[1:]
		}
	}
	for i := range b.events {
		e := &b.events[i]
		skipTo(e.line)
		c.counts.Lines++
		if err := c.count(e, reasons[i]); err != nil {
			if err == errLimit && e.line == b.last() {
				c.end(b)
			}
			return err
		}
	}
	skipTo(math.MaxInt64)
	c.end(b)
	c.Progress.update(func(s *Snapshot) {
		s.Object, s.Counts, s.Outcomes = b.Object.Key, *c.counts.clone(), c.outcomes.list()
	})
	return nil
}

// count counts an event. It returns errLimit behind the last.
func (c *counting) count(e *event, duplicate mapping.Reason) error {
	if !e.isSent() {
		c.outcomes.add(adapter.Rejected, e.mapped.Reason, 1)
		if c.Failed == nil || len(e.text) == 0 {
			return nil
		}
		return c.Failed(e.text)
	}
	c.counts.add(e)
	if duplicate != "" {
		c.outcomes.add(adapter.Duplicate, duplicate, 1)
		return nil
	}
	c.outcomes.add(adapter.Pending, "", 1)
	if c.send != nil {
		if err := c.send(&e.mapped); err != nil {
			return err
		}
	}
	if c.sent++; c.spec.Limit > 0 && c.sent == c.spec.Limit {
		return errLimit
	}
	return nil
}

// end counts a block that was read to its end.
func (c *counting) end(b *mappedBlock) {
	c.counts.read(b)
	if b.End && b.Err != nil {
		c.faults = append(c.faults, adapter.ObjectProgress{Object: b.Object.Key, Version: b.Object.Version, Lines: b.last(), Fault: faultOf(b)})
	}
}

// fresh tells events from those that the ledger has, or that came before.
type fresh struct {
	look     *LookUp
	seen     *seenSet
	reasons  []mapping.Reason
	arrivals []adapter.Arrival
}

func newFresh(look *LookUp) *fresh { return &fresh{look: look, seen: newSeenSet()} }

// duplicates returns for each event why it is a duplicate, empty if it is not. The
// answer is valid until the next call.
func (f *fresh) duplicates(ctx context.Context, events []event) ([]mapping.Reason, error) {
	f.reasons = append(f.reasons[:0], make([]mapping.Reason, len(events))...)
	f.arrivals = f.arrivals[:0]
	for i := range events {
		f.arrivals = append(f.arrivals, events[i].arrival(nil))
	}
	if f.look != nil && len(events) > 0 {
		known, err := f.look.Ledger.Known(ctx, f.look.Connection, f.look.Tenant, f.arrivals)
		if err != nil {
			return nil, fmt.Errorf("ask the ledger: %w", err)
		}
		copy(f.reasons, known)
	}
	for i := range f.arrivals {
		if f.reasons[i] != "" {
			continue
		}
		a := &f.arrivals[i]
		if a.Outcome == adapter.Pending && a.MessageID != "" && f.seen.add(a.MessageID, a.Identity) {
			f.reasons[i] = mapping.ReasonAlreadyAccepted
		}
	}
	return f.reasons, nil
}
