package replay

import (
	"sync"

	"segment-saasquatch/adapter"
)

// Progress shows how far a replay has come, to whoever looks. It is safe for
// concurrent use.
type Progress struct {
	mu       sync.Mutex
	snapshot Snapshot
}

// Snapshot is what a replay is at.
type Snapshot struct {
	// Object is the one that is being read, empty before the first and after the last.
	Object string
	Counts
	// Outcomes count all events that were read so far.
	Outcomes []adapter.Tally
	// Waiting says what the replay waits for, empty if it does not wait.
	Waiting string
	// Job is what the import job under way is at, empty without one.
	Job string
}

// Snapshot returns what the replay is at.
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

func (p *Progress) waiting(why string) { p.update(func(s *Snapshot) { s.Waiting = why }) }
