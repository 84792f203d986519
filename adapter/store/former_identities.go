package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"segment-saasquatch/adapter"
)

// loadFormerIdentities finds out whether the ledger may have events of earlier versions. Those told events without a
// valid key apart by a hash of the body to send, [adapter.Arrival.Fingerprint]. While it has such events, a repeated
// event is looked up by both hashes.
func (s *Store) loadFormerIdentities(ctx context.Context) error {
	return s.read(ctx, func(tx *sql.Tx) error {
		before, _, err := formerIdentities(ctx, tx)
		s.former.Store(before)
		return err
	})
}

// formerIdentities returns the id before which events have the former identity; found is false if there are none.
func formerIdentities(ctx context.Context, tx *sql.Tx) (before int64, found bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT before_id FROM former_identities`).Scan(&before)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the change of the events' identity: %w", err)
	}
	return before, true, nil
}

// formerHash returns the body hash that an earlier version gave the event, nil if it is not looked up.
func (s *Store) formerHash(a *adapter.Arrival) any {
	if a.Keyed || a.MessageID == "" || a.Fingerprint == 0 || s.former.Load() == 0 {
		return nil
	}
	return a.Fingerprint
}

// forgetFormer ends the look-up of former identities once the ledger has none of these events any more.
func (s *Store) forgetFormer(ctx context.Context) (more bool, err error) {
	if s.former.Load() == 0 {
		return false, nil
	}
	var held bool
	err = s.read(ctx, func(tx *sql.Tx) error {
		held, err = s.holdsFormer(ctx, tx)
		return err
	})
	if err != nil || held {
		return false, err
	}
	err = s.engine.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM former_identities`)
		return err
	})
	if err == nil {
		s.former.Store(0)
	}
	return false, err
}

// holdsFormer reports whether the store has events with former identities that make duplicates, or dead letters,
// which get the new identity when they are redriven.
func (s *Store) holdsFormer(ctx context.Context, tx *sql.Tx) (held bool, err error) {
	before, found, err := formerIdentities(ctx, tx)
	if err != nil || !found {
		return false, err
	}
	var id int64
	for _, query := range []string{
		`SELECT id FROM queue WHERE id < $1 LIMIT 1`,
		`SELECT id FROM deliveries WHERE id < $1 AND outcome IN (4, 5) AND body_hash IS NOT NULL LIMIT 1`,
	} {
		err = tx.QueryRowContext(ctx, query, before).Scan(&id)
		if !errors.Is(err, sql.ErrNoRows) {
			return true, err
		}
	}
	err = tx.QueryRowContext(ctx, `SELECT id FROM deliveries WHERE id >= $1 AND id < $2 AND outcome IN (1, 2)
		ORDER BY id LIMIT 1`, s.oldestFormer.Load(), before).Scan(&id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	}
	s.oldestFormer.Store(id)
	return true, nil
}
