package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// logBufferBytes bounds the lines that wait to be written. As many may be under way.
	logBufferBytes = 4 << 20
	// logCloseTimeout is how long the end of the process waits for them.
	logCloseTimeout = 2 * time.Second
	// maxSpareBytes is the largest buffer that is kept for the next batch.
	maxSpareBytes = 256 << 10
)

// logBuffer is a writer of log lines that never blocks. One goroutine writes what waits,
// many lines with one call. When the reader of the log stops, lines beyond the limit are
// dropped and counted. Once lines are written again, a notice says how many are missing.
//
// The hole: lines that wait are lost when the process is killed, or crashes. It is safe
// for concurrent use.
//
// zapcore.BufferedWriteSyncer does not serve: it writes under the lock that each logger
// takes.
type logBuffer struct {
	out   io.Writer
	limit int

	mu      sync.Mutex
	pending []byte // whole lines
	spare   []byte // for the next batch
	dropped uint64 // lines since the last notice
	total   uint64 // dropped lines
	closed  bool
	notice  func(out io.Writer, dropped uint64)

	wake    chan struct{} // has room for one
	written chan struct{} // closed behind the last batch

	torn bool // the last write ended within a line; of the goroutine alone
}

// newLogBuffer returns a buffer in front of out. It has to be closed.
func newLogBuffer(out io.Writer) *logBuffer {
	b := &logBuffer{out: out, limit: logBufferBytes, wake: make(chan struct{}, 1), written: make(chan struct{})}
	go b.run()
	return b
}

// Write takes lines: each call brings whole ones. It never fails.
func (b *logBuffer) Write(lines []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.pending)+len(lines) > b.limit {
		b.drop(lines)
		return len(lines), nil
	}
	b.pending = append(b.pending, lines...)
	b.signal()
	return len(lines), nil
}

// drop counts lines that are lost. The caller holds the lock.
func (b *logBuffer) drop(lines []byte) {
	n := uint64(max(1, bytes.Count(lines, []byte{'\n'})))
	b.dropped += n
	b.total += n
}

func (b *logBuffer) signal() {
	select {
	case b.wake <- struct{}{}:
	default: // the goroutine is going to look anyway
	}
}

// Dropped returns how many lines are lost.
func (b *logBuffer) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// setNotice sets what writes the notice of dropped lines to out, in the form of the log.
// It is called by one goroutine at a time. Default: there is none.
func (b *logBuffer) setNotice(notice func(out io.Writer, dropped uint64)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notice = notice
}

// run writes what waits, until the buffer is closed.
func (b *logBuffer) run() {
	defer close(b.written)
	for range b.wake {
		if !b.writePending() {
			return
		}
	}
}

// writePending writes all that waits. It returns false behind the last batch.
func (b *logBuffer) writePending() bool {
	for {
		b.mu.Lock()
		batch, dropped, notice, closed := b.pending, b.dropped, b.notice, b.closed
		if len(batch) == 0 && (dropped == 0 || notice == nil) {
			b.mu.Unlock()
			return !closed
		}
		b.pending, b.spare = b.spare[:0], nil
		b.mu.Unlock()

		ok := b.writeOut(batch)
		told := ok && dropped > 0 && notice != nil
		if told { // the dropped lines came behind the batch
			notice(b.out, dropped)
		}

		b.mu.Lock()
		if told {
			b.dropped -= dropped
		}
		if cap(batch) <= maxSpareBytes {
			b.spare = batch[:0]
		}
		b.mu.Unlock()
		if !ok {
			return !closed // a notice waits for the next line
		}
	}
}

// writeOut writes a batch. What an error leaves of it is dropped.
func (b *logBuffer) writeOut(batch []byte) bool {
	if len(batch) == 0 {
		return true
	}
	if b.torn {
		if _, err := b.out.Write([]byte{'\n'}); err != nil {
			b.lose(batch)
			return false
		}
		b.torn = false
	}
	n, err := b.out.Write(batch)
	if err == nil {
		return true
	}
	b.torn = n > 0 && batch[n-1] != '\n'
	b.lose(batch[n:])
	return false
}

func (b *logBuffer) lose(lines []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(lines)
}

// close writes what waits, for the timeout at most. Lines that come later are dropped.
func (b *logBuffer) close(timeout time.Duration) {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.signal()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-b.written:
	case <-timer.C:
	}
}
