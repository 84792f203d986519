package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// maxSpooled bounds the number of uploads and results, because each holds a file open.
const maxSpooled = 512

var (
	errSpoolFull   = errors.New("sandbox: no room for more uploads and results")
	errSpoolClosed = errors.New("sandbox: closed")
)

// spool keeps uploads and results on disk, in files without a name. They vanish with the process, even if it crashes.
// At its limits, the spool evicts the oldest files that are not pinned.
type spool struct {
	limit int64 // total size of all files, in bytes

	mu     sync.Mutex // guards what follows, and pins and size of the files
	files  []*spooled // oldest first
	used   int64
	closed bool
}

// spooled is one file. One writer writes it, then it is read.
type spooled struct {
	spool *spool
	file  *os.File
	size  int64
	pins  int
	gone  bool
}

// create returns an empty file with one pin.
func (p *spool) create() (*spooled, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errSpoolClosed
	}
	if len(p.files) >= maxSpooled && !p.evict() {
		return nil, errSpoolFull
	}
	file, err := os.CreateTemp("", "segment-saasquatch-sandbox-*")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	f := &spooled{spool: p, file: file, pins: 1}
	p.files = append(p.files, f)
	return f, nil
}

// evict removes the oldest file that is not pinned. It reports whether there was one.
func (p *spool) evict() bool {
	i := slices.IndexFunc(p.files, func(f *spooled) bool { return f.pins == 0 })
	if i >= 0 {
		p.remove(p.files[i])
	}
	return i >= 0
}

func (p *spool) remove(f *spooled) {
	p.files = slices.DeleteFunc(p.files, func(other *spooled) bool { return other == f })
	p.used -= f.size
	f.gone = true
	_ = f.file.Close() // the file has no name, so no data can be lost
}

// Write appends to the file. It is not safe for concurrent use.
func (f *spooled) Write(b []byte) (int, error) {
	p := f.spool
	p.mu.Lock()
	for p.used+int64(len(b)) > p.limit {
		if !p.evict() {
			p.mu.Unlock()
			return 0, errSpoolFull
		}
	}
	if f.gone {
		p.mu.Unlock()
		return 0, errSpoolClosed
	}
	p.used += int64(len(b))
	f.size += int64(len(b))
	p.mu.Unlock()
	n, err := f.file.Write(b)
	if err != nil {
		return n, fmt.Errorf("spool: %w", err)
	}
	return n, nil
}

// reader returns a reader of the whole file, and the file's size. Reading fails after the file was removed.
func (f *spooled) reader() (io.Reader, int64) {
	f.spool.mu.Lock()
	defer f.spool.mu.Unlock()
	return io.NewSectionReader(f.file, 0, f.size), f.size
}

// kept reports whether the file still exists.
func (f *spooled) kept() bool {
	f.spool.mu.Lock()
	defer f.spool.mu.Unlock()
	return !f.gone
}

// pin protects the file from eviction. It fails if the file was removed.
func (f *spooled) pin() bool {
	f.spool.mu.Lock()
	defer f.spool.mu.Unlock()
	if f.gone {
		return false
	}
	f.pins++
	return true
}

func (f *spooled) unpin() {
	f.spool.mu.Lock()
	defer f.spool.mu.Unlock()
	f.pins--
}

// drop removes the file at once.
func (f *spooled) drop() {
	f.spool.mu.Lock()
	defer f.spool.mu.Unlock()
	if !f.gone {
		f.spool.remove(f)
	}
}

// clear removes all files.
func (p *spool) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.files) > 0 {
		p.remove(p.files[0])
	}
}

// close removes all files and refuses new ones.
func (p *spool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.clear()
}
