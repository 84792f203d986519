package replay

import (
	"context"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// Progress shows how far a replay is. It is safe for concurrent use.
type Progress struct {
	mu       sync.Mutex
	snapshot Snapshot
}

// Snapshot is the state of a replay at one moment.
type Snapshot struct {
	// Object is read at the moment, empty before the first and after the last.
	Object string
	Counts
	// Outcomes count all events that were read so far.
	Outcomes []adapter.Tally
	// Waiting is the reason why the replay waits, empty if it does not wait.
	Waiting string
	// Job describes the step of the current import job, empty without one.
	Job string
}

// Snapshot returns the state of the replay.
func (p *Progress) Snapshot() Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.snapshot
}

func (p *Progress) update(change func(*Snapshot)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.snapshot)
}

// SetWaiting shows why the replay waits, empty if it does not wait.
func (p *Progress) SetWaiting(why string) { p.update(func(s *Snapshot) { s.Waiting = why }) }

// SetJob shows the step of the current import job, empty without one.
func (p *Progress) SetJob(step string) { p.update(func(s *Snapshot) { s.Job = step }) }

// Wait waits for d and shows why. It returns the error of ctx if that ends first.
func (p *Progress) Wait(ctx context.Context, why string, d time.Duration) error {
	p.SetWaiting(why)
	if err := adapter.Wait(ctx, d); err != nil {
		return err
	}
	p.SetWaiting("")
	return nil
}
