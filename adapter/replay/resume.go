package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
)

// Resume returns how far a run has read each object, by the run's checkpoints. It returns the start of an object that
// has changed since, because its lines may have moved; delivered events are then duplicates. It also returns the start
// of an object with entries whose lines an older version counted. Standard input is always read from its start; the
// run skips the lines that it has stored.
func Resume(objects []adapter.ObjectProgress) func(archive.Object) (afterLine int64, done bool) {
	byKey := make(map[string]*adapter.ObjectProgress, len(objects))
	for i := range objects {
		byKey[objects[i].Object] = &objects[i]
	}
	return func(o archive.Object) (int64, bool) {
		was := byKey[o.Key]
		switch {
		case was == nil, o.Key == stdinKey:
			return 0, false
		case was.Version == o.Version:
			return was.Lines, was.Done
		}
		// Only reading shows that an object has entries.
		return 0, was.Done && was.Version == o.Version+archive.OfEntries
	}
}

// stdinKey is the key of standard input among the objects of an archive.
const stdinKey = "-"

// ErrOtherInput means that a run is resumed with another standard input.
var ErrOtherInput = errors.New("standard input is not that of the run: its first lines are others; " +
	"give it the same, or begin another run")

// stdin recognizes standard input when a run is resumed: its version is a hash of the stored lines.
type stdin struct {
	sum hash.Hash
	// was is the run's checkpoint, nil for a new run.
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

// skip skips the lines of a block that the run has stored, and returns the last of them.
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

// add adds the lines after from, up to and including to.
func (s *stdin) add(b *archive.Block, from, to int64) {
	for line := range b.Lines() {
		if line.Number > from && line.Number <= to {
			_, _ = s.sum.Write(line.Text) // a hash has no errors
			_, _ = s.sum.Write([]byte{'\n'})
		}
	}
}

func (s *stdin) version() string { return hex.EncodeToString(s.sum.Sum(nil)) }
