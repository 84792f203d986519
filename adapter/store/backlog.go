package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"sync"

	"segment-saasquatch/adapter"
)

// backlog is the number and size of the pending events, as far as this process knows.
type backlog struct {
	mu       sync.Mutex
	pending  map[int64]weight // by connection
	freeDisk int64            // negative if not known
	changed  int64            // number of calls of count

	// admitted are the requests that were admitted and have not ended, by connection and in sum.
	admitted    map[int64]weight
	allAdmitted weight
}

// weight is a number of events and the size of their payloads.
type weight struct{ events, bytes int64 }

func (w weight) plus(events, bytes int64) weight { return weight{w.events + events, w.bytes + bytes} }

func newBacklog() backlog {
	return backlog{pending: make(map[int64]weight), admitted: make(map[int64]weight)}
}

// admit returns an error if the connection has no room for the events. Otherwise it reserves the room until leave, so
// that concurrent requests do not exceed the limits together.
func (s *Store) admit(q *Queue, events int, bytes int64) error {
	b := &s.backlog
	b.mu.Lock()
	defer b.mu.Unlock()
	admitted := b.admitted[q.connection]
	taken := b.pending[q.connection].plus(admitted.events, admitted.bytes)
	all := b.allAdmitted.plus(int64(events), bytes)
	switch {
	case q.share.Events > 0 && taken.events+int64(events) > q.share.Events:
		return full("%d events are pending, and no more than %d may be", taken.events, q.share.Events)
	case q.share.Bytes > 0 && taken.bytes+bytes > q.share.Bytes:
		return full("%d bytes are pending, and no more than %d may be", taken.bytes, q.share.Bytes)
	case s.limits.FreeDisk > 0 && b.freeDisk >= 0 && b.freeDisk-footprint(all.events, all.bytes) < s.limits.FreeDisk:
		return diskFull(b.freeDisk, s.limits.FreeDisk)
	}
	b.admitted[q.connection], b.allAdmitted = admitted.plus(int64(events), bytes), all
	return nil
}

// footprint estimates the room that events take on the disk until the log is copied to the database file: the pages
// of their rows, payloads and indexes in both files.
func footprint(events, bytes int64) int64 {
	return 2 * pageSize * (4 + events + bytes/3000)
}

// leave releases the room that was reserved for a change. The events that were stored have been counted by then.
func (b *backlog) leave(c change) {
	a, ok := c.(*acceptance)
	if !ok {
		return
	}
	events, bytes := a.weight()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allAdmitted = b.allAdmitted.plus(-int64(events), -bytes)
	connection := a.queue.connection
	left := b.admitted[connection].plus(-int64(events), -bytes)
	if b.admitted[connection] = left; left == (weight{}) {
		delete(b.admitted, connection)
	}
}

func full(format string, args ...any) error {
	return &adapter.UnavailableError{Message: "the backlog of the connection is full: " + fmt.Sprintf(format, args...)}
}

// diskFull is the error of a disk with less room than its reserve. The message has no numbers, so that the log
// reports it once.
func diskFull(free, reserve int64) *adapter.UnavailableError {
	return &adapter.UnavailableError{
		Message: "the backlog is full: the disk has too little room left",
		Err:     fmt.Errorf("%d bytes are left, and %d are to stay free (backlog.min_free_disk)", free, reserve),
	}
}

// enoughDisk is the room from which a full disk takes events again. It exceeds the reserve, so that the answer does
// not change with every request.
func enoughDisk(reserve int64) int64 { return reserve + footprint(1, 0) + reserve/16 }

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
	case free >= enoughDisk(reserve):
		s.health.setFull(nil)
	}
	return nil
}

// count adds the changes to the backlog. Duplicates are not pending.
func (b *backlog) count(changes []change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range changes {
		switch c := c.(type) {
		case *acceptance:
			pending := b.pending[c.queue.connection]
			for i := range c.arrivals {
				if c.arrivals[i].Outcome == adapter.Pending {
					pending = pending.plus(1, int64(len(c.arrivals[i].Payload)))
				}
			}
			b.pending[c.queue.connection] = pending
		case recordings:
			for _, r := range c {
				if !r.lost && r.step.Outcome != adapter.Pending {
					of := r.queue.connection
					b.pending[of] = b.pending[of].plus(-1, -int64(len(r.leased.Payload)))
				}
			}
		}
	}
	b.changed++
}

// measure reads the size of the backlog and the free room of the disk.
func (s *Store) measure(ctx context.Context) error {
	b := &s.backlog
	b.mu.Lock()
	changed := b.changed
	b.mu.Unlock()
	pending, err := readValue(ctx, s.observe, func(tx *sql.Tx) (map[int64]weight, error) {
		return readPending(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("measure the backlog: %w", err)
	}
	if err := s.watchDisk(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == changed { // otherwise the numbers are outdated
		b.pending = pending
	}
	return nil
}

// readPending reads the number and the size of the pending events by connection.
func readPending(ctx context.Context, tx *sql.Tx) (map[int64]weight, error) {
	pending := make(map[int64]weight)
	var connection int64
	var of weight
	rows, err := tx.QueryContext(ctx, `SELECT connection, CAST(sum(events) AS bigint), CAST(sum(bytes) AS bigint)
		FROM totals WHERE outcome = `+strconv.Itoa(int(adapter.Pending))+` GROUP BY connection`)
	err = eachRow(rows, err, func() { pending[connection] = of }, &connection, &of.events, &of.bytes)
	return pending, err
}
