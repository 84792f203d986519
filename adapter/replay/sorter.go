package replay

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// TemporaryFileError means that a temporary file could not be made, written or read.
type TemporaryFileError struct {
	// Dir is the file's directory, empty for the system's directory for temporary files.
	Dir string
	Err error
}

func (e *TemporaryFileError) Error() string {
	dir := e.Dir
	if dir == "" {
		dir = os.TempDir()
	}
	return fmt.Sprintf("the identify calls do not fit in memory, and their temporary file in %s fails: %v: free space"+
		" there, or set TMPDIR to another directory, or leave out identify calls with --identify none", dir, e.Err)
}

func (e *TemporaryFileError) Unwrap() error { return e.Err }

// sorter sorts records by their keys. Up to a limit it keeps them in memory, beyond it in a temporary file of sorted
// runs, which it merges when they are read.
//
// The libraries for external sorting limit the number of records in memory and not their size: a line of an archive
// may have 10 MiB.
//
// Only the owner can read the file. It has no name, so it disappears with the process.
type sorter struct {
	dir     string
	keySize int
	limit   int // of the records in memory, in bytes

	records []byte // of each record the key, the length of the value, and the value
	starts  []int  // the offset of each record
	file    *os.File
	out     *bufio.Writer
	size    int64
	runs    []int64 // the offset of each run in the file
}

// recordCost is the memory of a record beside its bytes.
const recordCost = 8

func newSorter(dir string, keySize, limit int) *sorter {
	return &sorter{dir: dir, keySize: keySize, limit: limit}
}

// add adds a record. The parts make its value.
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

func (s *sorter) key(start int) []byte { return s.records[start : start+s.keySize] }

// record returns the record that begins at start, and where it ends.
func (s *sorter) record(start int) (key, value []byte, end int) {
	size, n := binary.Uvarint(s.records[start+s.keySize:])
	begin := start + s.keySize + n
	end = begin + int(size)
	return s.key(start), s.records[begin:end:end], end
}

func (s *sorter) sort() {
	slices.SortFunc(s.starts, func(a, b int) int { return bytes.Compare(s.key(a), s.key(b)) })
}

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
		_, _, end := s.record(start)
		if _, err := s.out.Write(s.records[start:end]); err != nil {
			return err
		}
		s.size += int64(end - start)
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	if cap(s.records) > 2*s.limit { // a record was too large
		s.records = nil
	}
	s.records, s.starts = s.records[:0], s.starts[:0]
	return nil
}

func (s *sorter) close() {
	s.records, s.starts, s.out = nil, nil, nil
	if s.file != nil {
		_ = s.file.Close() // without a name it is gone even if this fails
		s.file = nil
	}
}

// readMemory limits the buffers for the runs of a file, in bytes; each has at least leastRead.
const readMemory, leastRead, mostRead = 8 << 20, 4 << 10, 256 << 10

// sorted returns the records in the order of their keys. It may be called several times. No record may be added
// after the first call.
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
		section := io.NewSectionReader(s.file, begin, end-begin)
		run := &runReader{in: bufio.NewReaderSize(section, buffer), key: make([]byte, s.keySize)}
		more, err := run.next()
		if err != nil {
			return nil, s.failed(err)
		}
		if more {
			r.runs = append(r.runs, run)
		}
	}
	slices.SortFunc(r.runs, compareRuns)
	return r, nil
}

// sortedRecords reads the records of a sorter in their order.
type sortedRecords struct {
	sorter *sorter
	next   int          // record in memory
	runs   []*runReader // of the file, sorted by their next key
	begun  bool
}

// read returns the next record, valid until the next call; ok is false after the last.
func (r *sortedRecords) read() (key, value []byte, ok bool, err error) {
	if r.sorter.file == nil {
		if r.next == len(r.sorter.starts) {
			return nil, nil, false, nil
		}
		key, value, _ = r.sorter.record(r.sorter.starts[r.next])
		r.next++
		return key, value, true, nil
	}
	if r.begun && len(r.runs) > 0 {
		first, others := r.runs[0], r.runs[1:]
		more, err := first.next()
		switch {
		case err != nil:
			return nil, nil, false, r.sorter.failed(err)
		case more:
			// The runs are few, so moving them costs less than reading the record.
			at, _ := slices.BinarySearchFunc(others, first, compareRuns)
			copy(r.runs, others[:at])
			r.runs[at] = first
		default:
			r.runs = others
		}
	}
	r.begun = true
	if len(r.runs) == 0 {
		return nil, nil, false, nil
	}
	return r.runs[0].key, r.runs[0].value, true, nil
}

type runReader struct {
	in         *bufio.Reader
	key, value []byte
}

// keptValue limits the buffer that a run keeps between values, in bytes.
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

func compareRuns(a, b *runReader) int { return bytes.Compare(a.key, b.key) }
