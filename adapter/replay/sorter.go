package replay

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// TemporaryFileError means that a temporary file could not be made, written or read.
type TemporaryFileError struct {
	// Dir is where the file is, empty for the system's directory of temporary files.
	Dir string
	Err error
}

func (e *TemporaryFileError) Error() string {
	dir := e.Dir
	if dir == "" {
		dir = os.TempDir()
	}
	return fmt.Sprintf("the identify calls do not fit in memory, and their temporary file in %s fails: %v: free space there, or set TMPDIR to another directory, or leave identify calls out with --identify none", dir, e.Err)
}

func (e *TemporaryFileError) Unwrap() error { return e.Err }

// sorter sorts records by their keys. It keeps them in memory up to a limit, beyond it
// in a temporary file of sorted runs that are merged when they are read.
//
// The libraries for external sorting bound the number of records in memory and not
// their size, which a line of an archive may have up to 10 MiB of.
//
// The file is readable by its owner only, and has no name: nothing is left of it
// however the process ends.
type sorter struct {
	dir     string
	keySize int
	// limit bounds the records in memory, in bytes.
	limit int

	records []byte // each one its key, the length of its value, and the value
	starts  []int  // where each record begins
	file    *os.File
	out     *bufio.Writer
	size    int64
	runs    []int64 // where each run begins in the file
}

// recordCost is what a record takes in memory beside its bytes.
const recordCost = 8

func newSorter(dir string, keySize, limit int) *sorter {
	return &sorter{dir: dir, keySize: keySize, limit: limit}
}

// add adds a record, whose value is the parts one behind the other.
func (s *sorter) add(key []byte, parts ...[]byte) error {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	full := len(s.records) + recordCost*len(s.starts)
	if full > 0 && full+len(key)+binary.MaxVarintLen64+size > s.limit {
		if err := s.spill(); err != nil {
			return s.failed(err)
		}
	}
	s.starts = append(s.starts, len(s.records))
	s.records = append(s.records, key...)
	s.records = binary.AppendUvarint(s.records, uint64(size))
	for _, part := range parts {
		s.records = append(s.records, part...)
	}
	return nil
}

func (s *sorter) failed(err error) error { return &TemporaryFileError{Dir: s.dir, Err: err} }

// key returns the key of the record that begins at start.
func (s *sorter) key(start int) []byte { return s.records[start : start+s.keySize] }

// record returns the record that begins at start.
func (s *sorter) record(start int) (key, value []byte) {
	size, n := binary.Uvarint(s.records[start+s.keySize:])
	value = s.records[start+s.keySize+n:]
	return s.key(start), value[:size:size]
}

func (s *sorter) sort() {
	slices.SortFunc(s.starts, func(a, b int) int { return bytes.Compare(s.key(a), s.key(b)) })
}

// spill writes the records in memory as a run of the file.
func (s *sorter) spill() error {
	if s.file == nil {
		file, err := os.CreateTemp(s.dir, "segment-saasquatch-*")
		if err != nil {
			return err
		}
		s.file, s.out = file, bufio.NewWriterSize(file, 256<<10)
		if err := os.Remove(file.Name()); err != nil {
			return err
		}
	}
	s.sort()
	s.runs = append(s.runs, s.size)
	for _, start := range s.starts {
		_, value := s.record(start)
		end := start + s.keySize + uvarintLen(uint64(len(value))) + len(value)
		if _, err := s.out.Write(s.records[start:end]); err != nil {
			return err
		}
		s.size += int64(end - start)
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	if cap(s.records) > 2*s.limit { // by a record that was too large
		s.records = nil
	}
	s.records, s.starts = s.records[:0], s.starts[:0]
	return nil
}

func uvarintLen(n uint64) int {
	var text [binary.MaxVarintLen64]byte
	return binary.PutUvarint(text[:], n)
}

// close gives memory and disk back.
func (s *sorter) close() {
	s.records, s.starts, s.out = nil, nil, nil
	if s.file != nil {
		_ = s.file.Close() // it is gone then, whatever was wrong
		s.file = nil
	}
}

// readMemory bounds the buffers for the runs of a file, in bytes, as long as each of
// them has leastRead.
const readMemory, leastRead, mostRead = 8 << 20, 4 << 10, 256 << 10

// sorted yields the records in the order of their keys. It may be called several
// times, and nothing may be added after the first.
func (s *sorter) sorted() (*sortedRecords, error) {
	if s.file == nil {
		s.sort()
		return &sortedRecords{sorter: s}, nil
	}
	if len(s.starts) > 0 {
		if err := s.spill(); err != nil {
			return nil, s.failed(err)
		}
	}
	s.records, s.starts, s.out = nil, nil, nil
	r := &sortedRecords{sorter: s}
	buffer := min(mostRead, max(leastRead, readMemory/len(s.runs)))
	for i, begin := range s.runs {
		end := s.size
		if i+1 < len(s.runs) {
			end = s.runs[i+1]
		}
		run := &runReader{in: bufio.NewReaderSize(io.NewSectionReader(s.file, begin, end-begin), buffer), key: make([]byte, s.keySize)}
		more, err := run.next()
		if err != nil {
			return nil, s.failed(err)
		}
		if more {
			r.runs = append(r.runs, run)
		}
	}
	heap.Init(&r.runs)
	return r, nil
}

// sortedRecords reads the records of a sorter in their order.
type sortedRecords struct {
	sorter *sorter
	next   int      // of those in memory
	runs   runQueue // of those in the file, the run with the least key first
	begun  bool
}

// read returns the next record, which is valid until the next call; ok is false behind
// the last.
func (r *sortedRecords) read() (key, value []byte, ok bool, err error) {
	if r.sorter.file == nil {
		if r.next == len(r.sorter.starts) {
			return nil, nil, false, nil
		}
		key, value = r.sorter.record(r.sorter.starts[r.next])
		r.next++
		return key, value, true, nil
	}
	if r.begun && len(r.runs) > 0 {
		more, err := r.runs[0].next()
		switch {
		case err != nil:
			return nil, nil, false, r.sorter.failed(err)
		case more:
			heap.Fix(&r.runs, 0)
		default:
			heap.Pop(&r.runs)
		}
	}
	r.begun = true
	if len(r.runs) == 0 {
		return nil, nil, false, nil
	}
	return r.runs[0].key, r.runs[0].value, true, nil
}

// runReader reads one run.
type runReader struct {
	in         *bufio.Reader
	key, value []byte
}

// keptValue bounds the buffer that a run keeps between values, in bytes.
const keptValue = 64 << 10

func (r *runReader) next() (more bool, err error) {
	if _, err := io.ReadFull(r.in, r.key); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, err
	}
	size, err := binary.ReadUvarint(r.in)
	if err != nil {
		return false, err
	}
	if cap(r.value) > keptValue && size < keptValue {
		r.value = nil
	}
	r.value = slices.Grow(r.value[:0], int(size))[:size]
	_, err = io.ReadFull(r.in, r.value)
	return err == nil, err
}

// runQueue is a heap of runs.
type runQueue []*runReader

func (q runQueue) Len() int           { return len(q) }
func (q runQueue) Less(i, j int) bool { return bytes.Compare(q[i].key, q[j].key) < 0 }
func (q runQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *runQueue) Push(run any)      { *q = append(*q, run.(*runReader)) }
func (q *runQueue) Pop() any {
	last := len(*q) - 1
	run := (*q)[last]
	*q = (*q)[:last]
	return run
}
