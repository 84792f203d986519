package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"segment-saasquatch/adapter"
)

// maxEventNames bounds the event names of Segment that a store holds. Senders choose the names, and can invent any
// number of them: events with further names are stored without a name. Each name is cut to 512 bytes, so they take 5
// MB at most, in memory and on disk.
const maxEventNames = 10_000

// eventNames maps Segment's event names to the numbers in the rows. A name keeps its number as long as the store
// exists.
type eventNames struct {
	engine   engine
	progress *progress
	limit    int
	// registering has one place, for the caller that adds names; see sqliteEngine.writing for why it is no mutex.
	registering chan struct{}

	mu  sync.RWMutex
	ids map[string]int64
	// full is set if ids has all names of the store and no more are added.
	full bool
}

func loadEventNames(ctx context.Context, e engine, p *progress, limit int) (*eventNames, error) {
	n := &eventNames{
		engine: e, progress: p, limit: limit, registering: make(chan struct{}, 1), ids: make(map[string]int64),
	}
	err := e.read(ctx, shortRead, func(tx *sql.Tx) error { return readEventNames(ctx, tx, n.ids, "") })
	if err != nil {
		return nil, fmt.Errorf("read the names of events: %w", err)
	}
	return n, nil
}

// readEventNames adds the names that a condition picks to ids.
func readEventNames(ctx context.Context, tx *sql.Tx, ids map[string]int64, where string, args ...any) error {
	var id int64
	var name string
	rows, err := tx.QueryContext(ctx, `SELECT id, name FROM event_names`+where, args...)
	return eachRow(rows, err, func() { ids[name] = id }, &id, &name)
}

// storedName returns the stored form of a name, empty for a blank one.
func storedName(name string) string {
	if name = cut(name); strings.TrimSpace(name) == "" {
		return ""
	}
	return name
}

// of returns the numbers of count names, 0 for none. It adds new names in a transaction of their own.
func (n *eventNames) of(ctx context.Context, count int, name func(int) string) ([]int64, error) {
	ids := make([]int64, count)
	unknown := n.find(ids, name)
	if len(unknown) == 0 {
		return ids, nil
	}
	select {
	case n.registering <- struct{}{}:
		defer func() { <-n.registering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if unknown = n.find(ids, name); len(unknown) == 0 {
		return ids, nil
	}
	// In one order, or two processes could wait for each other.
	slices.Sort(unknown)
	if err := n.register(ctx, slices.Compact(unknown)); err != nil {
		return nil, err
	}
	n.find(ids, name)
	return ids, nil
}

// find fills in the known numbers, and returns the names that may not have one yet.
func (n *eventNames) find(ids []int64, name func(int) string) (unknown []string) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range ids {
		stored := storedName(name(i))
		if stored == "" {
			continue
		}
		id, ok := n.ids[stored]
		if ids[i] = id; !ok && !n.full {
			unknown = append(unknown, stored)
		}
	}
	return unknown
}

// register adds as many of the names as there is room for.
func (n *eventNames) register(ctx context.Context, names []string) error {
	n.progress.begin()
	defer n.progress.end()
	registered, full := make(map[string]int64), false
	err := n.engine.write(ctx, func(tx *sql.Tx) error {
		clear(registered)
		var held int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM event_names`).Scan(&held); err != nil {
			return err
		}
		if full = held >= n.limit; full {
			return readEventNames(ctx, tx, registered, "")
		}
		for part := range slices.Chunk(names[:min(len(names), n.limit-held)], insertRows) {
			if err := insertEventNames(ctx, tx, registered, part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	n.progress.succeed()
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.Copy(n.ids, registered)
	n.full = full
	return nil
}

// insertEventNames adds names and puts their numbers into ids. Another process may have added some of them.
func insertEventNames(ctx context.Context, tx *sql.Tx, ids map[string]int64, names []string) error {
	var rows, places []string
	var args []any
	for i, name := range names {
		place := "$" + strconv.Itoa(i+1)
		rows, places, args = append(rows, "("+place+")"), append(places, place), append(args, name)
	}
	insert := `INSERT INTO event_names (name) VALUES ` + strings.Join(rows, ", ") + ` ON CONFLICT (name) DO NOTHING`
	_, err := tx.ExecContext(ctx, insert, args...)
	if err != nil {
		return err
	}
	return readEventNames(ctx, tx, ids, ` WHERE name IN (`+strings.Join(places, ", ")+`)`, args...)
}

// nameEvents returns the numbers of the arrivals' event names. After an error nothing was stored.
func (s *Store) nameEvents(ctx context.Context, arrivals []adapter.Arrival) ([]int64, error) {
	ids, err := s.eventNames.of(ctx, len(arrivals), func(i int) string { return arrivals[i].Event })
	switch {
	case err == nil:
		return ids, nil
	case ctx.Err() != nil:
		return nil, &adapter.UnavailableError{Message: "the store was busy for too long", Err: ctx.Err()}
	}
	err = s.explained("store the names of events", err)
	var unavailable *adapter.UnavailableError
	if errors.As(err, &unavailable) {
		s.health.set(unavailable)
	}
	return nil, err
}
