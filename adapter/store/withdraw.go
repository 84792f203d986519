package store

import (
	"errors"
	"slices"

	"segment-saasquatch/adapter"
)

// errWithdrawn means that a transaction was not committed since the sender of one of its
// events had been answered with 503 before the commit began. Nothing was stored.
var errWithdrawn = &adapter.UnavailableError{Message: "the store does not answer in time"}

// withdrawn reports whether the caller waits for the change no more. Only acceptances are
// withdrawn: outcomes have to be recorded however long that takes.
func withdrawn(c change) bool {
	a, ok := c.(*acceptance)
	return ok && a.ctx != nil && a.ctx.Err() != nil
}

// stillWanted returns errWithdrawn if a change is withdrawn. Engines ask right before a
// commit. An event that is withdrawn later is stored all the same.
func stillWanted(changes []change) error {
	if slices.ContainsFunc(changes, withdrawn) {
		return errWithdrawn
	}
	return nil
}

// withdraw answers what is withdrawn, and returns the rest of the batch.
func withdraw(batch []*submission) []*submission {
	return slices.DeleteFunc(batch, func(s *submission) bool {
		if !withdrawn(s.change) {
			return false
		}
		cause := s.change.(*acceptance).ctx.Err()
		s.done <- &adapter.UnavailableError{Message: errWithdrawn.Message, Err: cause}
		return true
	})
}

// isWithdrawn reports whether a transaction was given up for what is withdrawn.
func isWithdrawn(err error) bool { return errors.Is(err, errWithdrawn) }
