package store

import (
	"context"
	"errors"

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

// record commits a recording, unless an earlier call has done so without learning of it. After an UnavailableError
// the outcome may be recorded: the next call finds out.
func (s *Store) record(ctx context.Context, r *recording) error {
	key := leaseKey{r.leased.ID, r.leased.Token}
	if value, ok := s.unknownRecordings.Load(key); ok {
		earlier := value.(unknownRecording)
		committed, err := earlier.unknown.committed(ctx)
		if err != nil {
			return s.explained("ask whether the outcome is recorded", err)
		}
		s.unknownRecordings.Delete(key)
		if committed {
			return earlier.recording.result()
		}
	}
	err := s.commit(ctx, r)
	if unknown, ok := errors.AsType[*unknownCommitError](err); ok {
		s.unknownRecordings.Store(key, unknownRecording{r, unknown})
		return &adapter.UnavailableError{Message: "the store cannot be reached", Err: err}
	}
	if err != nil {
		return err
	}
	return r.result()
}
