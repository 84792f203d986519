package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
)

// stdinKey is the key of standard input among the objects of an archive.
const stdinKey = "-"

// ErrOtherInput means that a run is resumed with another standard input than the
// one it began with.
var ErrOtherInput = errors.New("standard input is not that of the run: its first lines are others; give it the same, or begin another run")

// stdin knows standard input again when a run is resumed: its version is a hash of
// the lines that are done with.
type stdin struct {
	sum hash.Hash
	// was is how far the run had come, nil for a run that begins.
	was *adapter.ObjectProgress
}

func newStdin(objects []adapter.ObjectProgress) *stdin {
	s := &stdin{sum: sha256.New()}
	for i := range objects {
		if objects[i].Object == stdinKey {
			s.was = &objects[i]
		}
	}
	return s
}

// skip passes over the lines of a block that the run is done with, and returns up
// to which line that is.
func (s *stdin) skip(b *mappedBlock) (line int64, err error) {
	first := b.FirstLine - 1
	if s.was == nil {
		return first, nil
	}
	if b.last() < s.was.Lines {
		s.add(b.Block, first, b.last())
		if b.End {
			return 0, ErrOtherInput
		}
		return b.last(), nil
	}
	s.add(b.Block, first, s.was.Lines)
	if s.version() != s.was.Version {
		return 0, ErrOtherInput
	}
	line, s.was = s.was.Lines, nil
	return line, nil
}

// add adds the lines behind from, up to to.
func (s *stdin) add(b *archive.Block, from, to int64) {
	for line := range b.Lines() {
		switch {
		case line.Number <= from:
		case line.Number > to:
			return
		default:
			_, _ = s.sum.Write(line.Text) // a hash takes everything
			_, _ = s.sum.Write([]byte{'\n'})
		}
	}
}

func (s *stdin) version() string { return hex.EncodeToString(s.sum.Sum(nil)) }

// from returns the place in the block behind a line.
func (b *mappedBlock) from(line int64) place {
	at := place{line: line}
	for at.events < len(b.events) && b.events[at.events].line <= line {
		at.events++
	}
	for at.skipped < len(b.skipped) && b.skipped[at.skipped].line <= line {
		at.skipped++
	}
	return at
}
