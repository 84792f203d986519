package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"segment-saasquatch/adapter/config"
)

// newLogger returns a logger without sampling. Every event has its line, unless the buffer is full.
func newLogger(cfg config.Log, out *logBuffer) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(cfg.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	encoder := newLogEncoder(cfg, out)
	out.setNotice(func(direct io.Writer, dropped uint64) {
		notice := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(direct), zapcore.WarnLevel))
		notice.Warn("lines of the log are missing: its reader was too slow, or writing to it failed",
			zap.Uint64("dropped", dropped))
	})
	sink := zapcore.AddSync(out)
	return zap.New(zapcore.NewCore(encoder, sink, level), zap.ErrorOutput(sink)), nil
}

func newLogEncoder(cfg config.Log, out io.Writer) zapcore.Encoder {
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey = "time"
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.MillisDurationEncoder
	if cfg.Format == "console" || cfg.Format == "auto" && isTerminal(out) {
		encoding.EncodeTime = zapcore.ISO8601TimeEncoder
		encoding.EncodeLevel = zapcore.CapitalColorLevelEncoder
		return zapcore.NewConsoleEncoder(encoding)
	}
	return zapcore.NewJSONEncoder(encoding)
}

func isTerminal(out io.Writer) bool {
	if buffer, ok := out.(*logBuffer); ok {
		out = buffer.out
	}
	file, ok := out.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

const (
	// logBufferBytes bounds the waiting lines, in bytes. The batch being written may have as many.
	logBufferBytes = 4 << 20
	// logCloseTimeout bounds the wait for them at the end of the process.
	logCloseTimeout = 2 * time.Second
	// maxSpareBytes is the largest buffer that is reused for the next batch.
	maxSpareBytes = 256 << 10
)

// logBuffer is a writer of log lines that never blocks. A goroutine writes the waiting lines in batches. If the
// reader of the log stops, lines beyond the limit are dropped and counted. Once writing works again, a notice says
// how many lines are missing. It is safe for concurrent use.
//
// The hole: waiting lines are lost if the process is killed or crashes.
//
// zapcore.BufferedWriteSyncer cannot replace it, because it writes under the lock that each logger takes.
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
	written chan struct{} // closed after the last batch

	torn bool // the last write ended within a line; only the goroutine uses it
}

// newLogBuffer returns a buffer in front of out. The caller closes it.
func newLogBuffer(out io.Writer) *logBuffer {
	b := &logBuffer{out: out, limit: logBufferBytes, wake: make(chan struct{}, 1), written: make(chan struct{})}
	go b.run()
	return b
}

// Write takes whole lines. It never fails.
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

// drop counts lost lines. The caller holds the lock.
func (b *logBuffer) drop(lines []byte) {
	n := uint64(max(1, bytes.Count(lines, []byte{'\n'})))
	b.dropped += n
	b.total += n
}

func (b *logBuffer) signal() {
	select {
	case b.wake <- struct{}{}:
	default: // the goroutine is awake already
	}
}

// Dropped returns how many lines are lost.
func (b *logBuffer) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// setNotice sets the function that writes the notice of dropped lines to out, in the format of the log. One
// goroutine calls it at a time. Default: none.
func (b *logBuffer) setNotice(notice func(out io.Writer, dropped uint64)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notice = notice
}

// run writes the waiting lines until the buffer is closed.
func (b *logBuffer) run() {
	defer close(b.written)
	for range b.wake {
		if !b.writePending() {
			return
		}
	}
}

// writePending writes all waiting lines. It returns false after the last batch.
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
		if told { // the dropped lines came after the batch
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

// writeOut writes a batch. After an error it drops the rest of the batch.
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

// close writes the waiting lines, within the timeout. Later lines are dropped.
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
