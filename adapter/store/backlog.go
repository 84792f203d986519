package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"sync"

	"segment-saasquatch/adapter"
)

// backlog is how much is pending, as far as this process knows.
type backlog struct {
	mu       sync.Mutex
	events   int64
	bytes    int64
	freeDisk int64 // negative if not known
	changed  int64 // how often count has run

	// Of requests that were admitted and whose end is not known yet.
	admittedEvents, admittedBytes int64
}

// admit returns an error if that many events more are too many. Otherwise their
// room is set aside until leave, so that requests at the same time do not exceed
// the limits together.
func (s *Store) admit(events int, bytes int64) error {
	b := &s.backlog
	b.mu.Lock()
	defer b.mu.Unlock()
	switch limits := s.limits; {
	case limits.Events > 0 && b.events+b.admittedEvents+int64(events) > limits.Events:
		return full("%d events are pending, and no more than %d may be", b.events+b.admittedEvents, limits.Events)
	case limits.Bytes > 0 && b.bytes+b.admittedBytes+bytes > limits.Bytes:
		return full("%d bytes are pending, and no more than %d may be", b.bytes+b.admittedBytes, limits.Bytes)
	case limits.FreeDisk > 0 && b.freeDisk >= 0 &&
		b.freeDisk-footprint(b.admittedEvents+int64(events), b.admittedBytes+bytes) < limits.FreeDisk:
		return diskFull(b.freeDisk, limits.FreeDisk)
	}
	b.admittedEvents += int64(events)
	b.admittedBytes += bytes
	return nil
}

// footprint is about how much of the disk events take up until the log is copied to the
// database file: the pages of their rows, of their payloads and of the indexes in both.
func footprint(events, bytes int64) int64 {
	return 2 * pageSize * (4 + events + bytes/3000)
}

// leave gives up the room that was set aside for a change. What was stored of it
// has been counted by then.
func (b *backlog) leave(c change) {
	a, ok := c.(*acceptance)
	if !ok {
		return
	}
	events, bytes := a.weight()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admittedEvents -= int64(events)
	b.admittedBytes -= bytes
}

func full(format string, args ...any) error {
	return &adapter.UnavailableError{Message: "the backlog is full: " + fmt.Sprintf(format, args...)}
}

// diskFull says that the disk has less than its reserve. The message is the same for all
// numbers, so that the log tells of it once.
func diskFull(free, reserve int64) *adapter.UnavailableError {
	return &adapter.UnavailableError{
		Message: "the backlog is full: the disk has too little room left",
		Err:     fmt.Errorf("%d bytes are left, and %d are to stay free (backlog.min_free_disk)", free, reserve),
	}
}

// watchDisk measures the room on the disk.
func (s *Store) watchDisk() error {
	free, err := s.engine.freeDisk()
	if err != nil {
		return fmt.Errorf("measure the free disk: %w", err)
	}
	s.backlog.mu.Lock()
	s.backlog.freeDisk = free
	s.backlog.mu.Unlock()
	reserve := s.limits.FreeDisk
	switch {
	case reserve == 0 || free < 0:
	case free < reserve+footprint(1, 0):
		s.health.setFull(diskFull(free, reserve))
	case free >= reserve+footprint(1, 0)+reserve/16: // so that it does not come and go
		s.health.setFull(nil)
	}
	return nil
}

// count adds what the changes have added to the backlog. Events that were marked
// as duplicates are not pending.
func (b *backlog) count(changes []change) {
	var events, bytes int64
	for _, c := range changes {
		switch c := c.(type) {
		case *acceptance:
			for i := range c.arrivals {
				if c.arrivals[i].Outcome == adapter.Pending {
					events++
					bytes += int64(len(c.arrivals[i].Payload))
				}
			}
		case *recording:
			if !c.lost && c.step.Outcome != adapter.Pending {
				events--
				bytes -= int64(len(c.leased.Payload))
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events += events
	b.bytes += bytes
	b.changed++
}

// measure reads the size of the backlog and the room on the disk.
func (s *Store) measure(ctx context.Context) error {
	b := &s.backlog
	b.mu.Lock()
	changed := b.changed
	b.mu.Unlock()
	var events, bytes int64
	err := s.engine.read(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT CAST(coalesce(sum(events), 0) AS bigint), CAST(coalesce(sum(bytes), 0) AS bigint) FROM totals WHERE outcome = `+
			strconv.Itoa(int(adapter.Pending))).Scan(&events, &bytes)
	})
	if err != nil {
		return fmt.Errorf("measure the backlog: %w", err)
	}
	if err := s.watchDisk(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == changed { // otherwise what was read is of the past
		b.events, b.bytes = events, bytes
	}
	return nil
}
