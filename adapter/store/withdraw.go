package store

import (
	"errors"
	"slices"

	"segment-saasquatch/adapter"
)

// errWithdrawn means that a transaction was not committed because the sender of one of its events got a 503 before
// the commit began. Nothing was stored.
var errWithdrawn = &adapter.UnavailableError{Message: "the store does not answer in time"}

// withdrawn reports whether the caller no longer waits for the change. Only acceptances are withdrawn: outcomes have
// to be recorded, however long that takes.
func withdrawn(c change) bool {
	a, ok := c.(*acceptance)
	return ok && a.ctx != nil && a.ctx.Err() != nil
}

// stillWanted returns errWithdrawn if a change is withdrawn. Engines call it right before a commit. An event that is
// withdrawn later is stored.
func stillWanted(changes []change) error {
	if slices.ContainsFunc(changes, withdrawn) {
		return errWithdrawn
	}
	return nil
}

// withdraw answers the withdrawn changes, and returns the rest of the batch.
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

// isWithdrawn reports whether a transaction was given up because of a withdrawn change.
func isWithdrawn(err error) bool { return errors.Is(err, errWithdrawn) }
