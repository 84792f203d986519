package store

import (
	"context"
	"errors"
	"slices"

	"segment-saasquatch/adapter"
)

// unknownCommitError means that the connection was lost during a commit, and that the database could not be asked for
// the result. All changes of the transaction are stored, or none is. They must not be applied again before that is
// known.
type unknownCommitError struct {
	// committed asks the database again.
	committed func(context.Context) (bool, error)
	err       error // of the commit
}

func (e *unknownCommitError) Error() string {
	return "it is unknown whether it was committed: " + e.err.Error()
}

func (e *unknownCommitError) Unwrap() error { return e.err }

// leaseKey identifies a lease.
type leaseKey struct{ id, token int64 }

// unknownRecording is a recording whose commit is unknown.
type unknownRecording struct {
	recording *recording
	unknown   *unknownCommitError
}

// record commits recordings, except those that an earlier call has committed without learning of it. After an
// UnavailableError the outcomes may be recorded: the next call finds out.
func (s *Store) record(ctx context.Context, rs recordings) error {
	rs, err := s.unrecorded(ctx, rs)
	if err != nil {
		return s.explained("ask whether the outcome is recorded", err)
	}
	if len(rs) == 0 {
		return nil
	}
	err = s.commit(ctx, rs)
	if unknown, ok := errors.AsType[*unknownCommitError](err); ok {
		for _, r := range rs {
			s.unknownRecordings.Store(keyOf(r), unknownRecording{r, unknown})
		}
		return &adapter.UnavailableError{Message: "the store cannot be reached", Err: err}
	}
	return err
}

// unrecorded returns the recordings that no earlier call has committed, and fills in the results of the others. It
// asks about each earlier transaction once. After an error it has forgotten nothing.
func (s *Store) unrecorded(ctx context.Context, rs recordings) (recordings, error) {
	earlier := make(map[*recording]unknownRecording)
	committed := make(map[*unknownCommitError]bool)
	for _, r := range rs {
		value, ok := s.unknownRecordings.Load(keyOf(r))
		if !ok {
			continue
		}
		unknown := value.(unknownRecording)
		earlier[r] = unknown
		if _, asked := committed[unknown.unknown]; asked {
			continue
		}
		is, err := unknown.unknown.committed(ctx)
		if err != nil {
			return nil, err
		}
		committed[unknown.unknown] = is
	}
	if len(earlier) == 0 {
		return rs, nil
	}
	return slices.DeleteFunc(slices.Clone(rs), func(r *recording) bool {
		of, ok := earlier[r]
		if !ok {
			return false
		}
		s.unknownRecordings.Delete(keyOf(r))
		if !committed[of.unknown] {
			return false
		}
		r.lost = of.recording.lost
		return true
	}), nil
}

func keyOf(r *recording) leaseKey { return leaseKey{r.leased.ID, r.leased.Token} }
