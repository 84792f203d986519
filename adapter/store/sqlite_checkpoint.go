package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Every transaction is appended to the write-ahead log. Two steps keep the log short. The first step copies its
// frames to the database file in the background, so no event waits for it. The second step lets the next transaction
// restart the log, that is, write from its beginning. SQLite allows that only when all frames are copied and no
// reader needs one of them. Under constant load that moment does not come by itself. So the writer makes it, and
// waits briefly for the readers.
const (
	// maxLog bounds the length of the log, in bytes. One transaction may exceed it, and a reader that stays for long.
	maxLog = 64 << 20
	// frameSize is the size of a page in the log.
	frameSize = pageSize + 24
	// copyFrames is the number of frames that the background copies at a time.
	copyFrames = 1000

	// restartWait is how long the writer waits for readers, and events for the writer.
	restartWait = 100 * time.Millisecond
	// maxTries is how often it waits in a row once the log exceeds maxLog. A reader that takes longer counts as one
	// that stays.
	maxTries = 10
	// restartRest is the pause between two tries while a reader stays.
	restartRest = 2 * time.Second
	// restartInterval is how often a log of at least copyFrames restarts. With few events, this finds a reader that
	// stays.
	restartInterval = 30 * time.Second
)

// writeAheadLog has the state for copying and restarting the log.
type writeAheadLog struct {
	// limit is maxLog, except in tests.
	limit int64
	// copying has one place, for the goroutine that copies or restarts; see sqliteEngine.writing for why it is no
	// mutex.
	copying chan struct{}
	// shrunk is set if copying the whole log makes the database file shorter.
	shrunk atomic.Bool

	mu sync.Mutex
	// heldSince is when a reader was first found to prevent a restart, the zero time if none does.
	heldSince time.Time
	tried     time.Time
}

// logState is the state of the log by SQLite, in frames.
type logState struct{ length, copied int64 }

func (s logState) uncopied() int64 { return s.length - s.copied }

// bytes returns the length of the log in the file.
func (s logState) bytes() int64 { return s.length * frameSize }

// restartBytes is the length from which the log restarts: half of the bound, and at most half of the ballast. The
// first half leaves time for readers to end; the second leaves room to copy the log on a full disk.
func (e *sqliteEngine) restartBytes() int64 {
	if e.ballast.size == 0 {
		return e.log.limit / 2
	}
	return min(e.log.limit/2, e.ballast.size/2)
}

// checkpoint is a mode of SQLite's wal_checkpoint. The NOOP mode only returns the state.
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
	if err := e.check(); err != nil { // lost files stay unchanged, to be copied
		return logState{}, false, err
	}
	return scanLog(e.checkpointer.QueryRowContext(ctx, string(mode)))
}

// boundLog follows every transaction. The caller holds the writer. If it fails, the log grows, and the next
// transaction tries again.
func (e *sqliteEngine) boundLog() {
	if state, _, err := scanLog(e.statements.logState.QueryRow()); err == nil && state.bytes() >= e.restartBytes() {
		_ = e.restart(context.Background(), state)
	}
}

// restart makes the next transaction restart the log, unless a reader prevents it. The caller holds the writer.
func (e *sqliteEngine) restart(ctx context.Context, state logState) error {
	held, tried := e.log.state()
	long := state.bytes() >= e.log.limit
	switch {
	case !held.IsZero() && time.Since(tried) < restartRest:
		return nil
	case state.uncopied()*frameSize > 2*e.log.limit:
		return nil // events would wait too long: the background copies most of it first
	case e.longReads.Load() > 0:
		e.log.failed()
		return nil
	case long:
		e.log.copying <- struct{}{}
	default:
		select {
		case e.log.copying <- struct{}{}:
		default:
			return nil // the background is copying: the next transaction has less to wait for
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

// maintain copies the write-ahead log to the database file and the newest messageIds to their table, and keeps the
// ballast. A process beside the server leaves this to the server.
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

// copyLog copies the frames that no reader blocks. The writer goes on meanwhile.
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
		log.For = max(time.Since(since), 1) // 0 means that no reader holds it
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
