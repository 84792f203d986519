package replay

import (
	"context"
	"fmt"
	"math"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// LedgerStore knows which events are delivered or pending.
type LedgerStore interface {
	Known(ctx context.Context, connection, tenant string, arrivals []adapter.Arrival) ([]mapping.Reason, error)
	Identifies(
		ctx context.Context, connection, tenant string, queries []adapter.IdentifyQuery,
	) ([]adapter.KnownIdentify, error)
}

// Ledger is what a store knows of one tenant of a connection.
type Ledger struct {
	Store              LedgerStore
	Connection, Tenant string
}

// Counted is the result of a dry run.
type Counted struct {
	Counts
	// Outcomes are those that the events would have. A pending event would be sent, in a request of its own.
	Outcomes []adapter.Tally
	// Faults are the objects that could not be read to their ends.
	Faults []adapter.ObjectProgress
}

// Count reads the blocks and predicts the outcomes of their events. It sends and stores nothing. Duplicates are
// those in opts.Ledger and those within the archive. It keeps 18 to 30 bytes for each event that would be sent.
func Count(ctx context.Context, spec *Spec, blocks Blocks, opts Options) (*Counted, error) {
	c := newCounting(spec, opts)
	err := c.newPipeline(spec, blocks).run(ctx, c.take)
	return c.counted(), err
}

type counting struct {
	Options
	spec     *Spec
	counts   *Counts
	outcomes tallies
	faults   []adapter.ObjectProgress
	// send is called with each event that would be sent, unless it is nil.
	send func(*mapping.Result) error
	sent int64

	seen     *seenSet
	reasons  []mapping.Reason // of a block's events, reused
	arrivals []adapter.Arrival
}

func newCounting(spec *Spec, opts Options) *counting {
	return &counting{
		Options: opts.WithDefaults(), spec: spec, counts: newCounts(), outcomes: make(tallies), seen: newSeenSet(),
	}
}

func (c *counting) counted() *Counted {
	return &Counted{Counts: *c.counts, Outcomes: c.outcomes.list(), Faults: c.faults}
}

func (c *counting) take(ctx context.Context, b *mappedBlock) error {
	if err := c.supersede(ctx, b); err != nil {
		return err
	}
	reasons, err := c.duplicates(ctx, b.events)
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

// count counts an event. It returns errLimit after the last event that the limit allows.
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
	if c.sent++; c.sent == c.spec.Limit {
		return errLimit
	}
	return nil
}

func (c *counting) end(b *mappedBlock) {
	c.counts.read(b)
	if b.End && b.Err != nil {
		c.faults = append(c.faults, adapter.ObjectProgress{
			Object: b.Object.Key, Version: b.Object.Version, Lines: b.last(), Fault: b.fault(),
		})
	}
}

// duplicates returns for each event why it is a duplicate, empty if it is none. The result is valid until the
// next call.
func (c *counting) duplicates(ctx context.Context, events []event) ([]mapping.Reason, error) {
	c.reasons = append(c.reasons[:0], make([]mapping.Reason, len(events))...)
	c.arrivals = c.arrivals[:0]
	for i := range events {
		c.arrivals = append(c.arrivals, events[i].arrival(nil))
	}
	if c.Ledger != nil && len(events) > 0 {
		known, err := c.Ledger.Store.Known(ctx, c.Ledger.Connection, c.Ledger.Tenant, c.arrivals)
		if err != nil {
			return nil, fmt.Errorf("ask the ledger: %w", err)
		}
		copy(c.reasons, known)
	}
	for i := range c.arrivals {
		a := &c.arrivals[i]
		named := a.Outcome == adapter.Pending && a.MessageID != ""
		if c.reasons[i] == "" && named && c.seen.add(a.MessageID, a.Identity) {
			c.reasons[i] = mapping.ReasonAlreadyAccepted
		}
	}
	return c.reasons, nil
}
