package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Every transaction is appended to the write-ahead log. Two steps keep the log short. The
// first one copies its frames to the database file, in the background, so that no event
// waits for it. The second one has the next transaction begin the log anew. SQLite allows
// that only at a moment when all frames are copied and no reader needs one of them. While
// events come without a pause no such moment comes by itself: so the writer makes one, and
// waits shortly for the readers.
const (
	// maxLog is the length of the log that is exceeded by one transaction at most, in bytes,
	// unless a reader stays for long.
	maxLog = 64 << 20
	// frameSize is the size of a page in the log.
	frameSize = pageSize + 24
	// copyFrames is how many frames are copied at a time in the background.
	copyFrames = 1000

	// restartPatience is how long the writer waits for readers, and so the longest time
	// that it keeps events waiting for them.
	restartPatience = 100 * time.Millisecond
	// maxTries is how often it does so in a row once the log has exceeded maxLog. A reader
	// that takes longer is taken to stay.
	maxTries = 10
	// restartRest is the time between two tries while a reader stays.
	restartRest = 2 * time.Second
	// restartInterval is how often a log of at least copyFrames begins anew. It is how a
	// reader is found that stays while few events come.
	restartInterval = 30 * time.Second
)

// writeAheadLog decides when the log is copied and when it begins anew.
type writeAheadLog struct {
	// limit takes the place of maxLog in tests.
	limit int64
	// copying has one place, for the goroutine that copies or restarts. It is no mutex, as
	// in sqliteEngine.
	copying chan struct{}
	// shrunk says that the database file becomes shorter once the whole log is copied.
	shrunk atomic.Bool

	mu sync.Mutex
	// heldSince is when a reader was first found to keep the log from beginning anew, the
	// zero time if none does.
	heldSince time.Time
	tried     time.Time
}

// logState is what SQLite says of the log, in frames.
type logState struct{ length, copied int64 }

func (s logState) uncopied() int64 { return s.length - s.copied }

// bytes returns the length of the log in the file.
func (s logState) bytes() int64 { return s.length * frameSize }

// restartBytes is the length from which on the log begins anew: half of the bound, which
// leaves room for the time that readers take to end, and half of the ballast, which is room
// enough to copy the log on a full disk.
func (e *sqliteEngine) restartBytes() int64 {
	if e.ballast.size == 0 {
		return e.log.limit / 2
	}
	return min(e.log.limit/2, e.ballast.size/2)
}

// checkpoint is a mode of SQLite's wal_checkpoint. The first one only asks.
type checkpoint string

const (
	checkpointNoop    checkpoint = `PRAGMA wal_checkpoint(NOOP)`
	checkpointPassive checkpoint = `PRAGMA wal_checkpoint(PASSIVE)`
	checkpointRestart checkpoint = `PRAGMA wal_checkpoint(RESTART)`
)

func scanLog(row interface{ Scan(...any) error }) (state logState, busy bool, err error) {
	var isBusy int64
	if err := row.Scan(&isBusy, &state.length, &state.copied); err != nil {
		return logState{}, false, fmt.Errorf("checkpoint: %w", err)
	}
	return state, isBusy != 0, nil
}

func (e *sqliteEngine) runCheckpoint(ctx context.Context, mode checkpoint) (state logState, busy bool, err error) {
	if err := e.check(); err != nil { // lost files stay as they are, to be copied
		return logState{}, false, err
	}
	return scanLog(e.checkpointer.QueryRowContext(ctx, string(mode)))
}

// boundLog follows every transaction. The caller has the writer. If it fails the log grows,
// and the next transaction tries again.
func (e *sqliteEngine) boundLog() {
	if state, _, err := scanLog(e.statements.logState.QueryRow()); err == nil && state.bytes() >= e.restartBytes() {
		_ = e.restart(context.Background(), state)
	}
}

// restart has the next transaction begin the log anew, if no reader keeps it from that. The
// caller has the writer.
func (e *sqliteEngine) restart(ctx context.Context, state logState) error {
	held, tried := e.log.state()
	long := state.bytes() >= e.log.limit
	switch {
	case !held.IsZero() && time.Since(tried) < restartRest:
		return nil
	case state.uncopied()*frameSize > 2*e.log.limit:
		return nil // events would wait too long for it: it is copied in the background first
	case e.longReads.Load() > 0:
		e.log.failed()
		return nil
	case long:
		e.log.copying <- struct{}{}
	default:
		select {
		case e.log.copying <- struct{}{}:
		default:
			return nil // it is being copied: the next transaction has less to wait for
		}
	}
	defer func() { <-e.log.copying }()
	tries := 1
	if long && held.IsZero() {
		tries = maxTries
	}
	for range tries {
		_, busy, err := e.runCheckpoint(ctx, checkpointRestart)
		if err != nil {
			return err
		}
		if !busy {
			e.log.restarted()
			return nil
		}
	}
	e.log.failed()
	return nil
}

func (l *writeAheadLog) state() (heldSince, tried time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heldSince, l.tried
}

func (l *writeAheadLog) restarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heldSince, l.tried = time.Time{}, time.Now()
}

func (l *writeAheadLog) failed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried = time.Now()
	if l.heldSince.IsZero() {
		l.heldSince = l.tried
	}
}

// maintain brings the write-ahead log to the database file and the newest
// messageIds to their table, and keeps the ballast. A process beside the server leaves
// that to the server.
func (e *sqliteEngine) maintain(ctx context.Context) error {
	if e.shared {
		return nil
	}
	return errors.Join(e.mergeMessages(ctx), e.ballast.keep(), e.maintainLog(ctx))
}

func (e *sqliteEngine) maintainLog(ctx context.Context) error {
	state, _, err := e.runCheckpoint(ctx, checkpointNoop)
	if err != nil {
		return err
	}
	if state.uncopied() >= min(copyFrames, e.restartBytes()/frameSize) || e.log.shrunk.Load() {
		if state, err = e.copyLog(ctx); err != nil {
			return err
		}
	}
	if state.uncopied() == 0 {
		e.log.shrunk.Store(false)
	}
	held, tried := e.log.state()
	isDue := state.length >= copyFrames && time.Since(tried) >= restartInterval || state.bytes() >= e.restartBytes()
	if held.IsZero() && (state.uncopied() == 0 || !isDue) {
		return nil
	}
	e.lockWriter()
	defer e.unlockWriter()
	if state, _, err = scanLog(e.statements.logState.QueryRow()); err != nil {
		return err
	}
	return e.restart(ctx, state)
}

// copyLog copies the frames that no reader keeps from being copied. The writer goes on
// meanwhile.
func (e *sqliteEngine) copyLog(ctx context.Context) (logState, error) {
	e.log.copying <- struct{}{}
	defer func() { <-e.log.copying }()
	state, _, err := e.runCheckpoint(ctx, checkpointPassive)
	return state, err
}

func (e *sqliteEngine) heldLog(readers bool) (log HeldLog, known bool) {
	log.File = e.path + indexSuffix
	if file, err := statFile(e.path + logSuffix); err == nil {
		log.Bytes = file.size
	}
	if since, _ := e.log.state(); !since.IsZero() {
		log.For = max(time.Since(since), 1) // 0 says that none holds it
	}
	if readers {
		log.Readers = logReaders(e.files.opened[indexFile])
	}
	return log, true
}

// strained reports whether a reader has let the log exceed its bound.
func (e *sqliteEngine) strained() bool {
	log, _ := e.heldLog(false)
	return log.For > 0 && log.Bytes >= e.log.limit
}
