package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"segment-saasquatch/adapter"
)

// Migration describes a migration of the tables to this program's version.
type Migration struct {
	// From and To are versions of the schema.
	From, To int64
	// Pending and Settled are the numbers of events in the store.
	Pending, Settled int64
	// Takes is its estimated time on a machine with two cores. A slow disk can make it several times as long.
	Takes time.Duration
	// Room is the room that it needs on the disk, in bytes.
	Room int64
}

// cost is the cost of a migration for each pending and each settled event, in time and in bytes on the disk. A
// migration that only adds tables and columns costs the same for any number of events.
type cost struct {
	pending, settled         time.Duration
	pendingRoom, settledRoom int64
}

// migrationTime is the fixed time of a migration.
const migrationTime = 10 * time.Millisecond

// migrationCosts are the costs of each migration, by engine and version.
var migrationCosts = map[string]map[int64]cost{
	"sqlite": {
		1: {}, 2: {}, 4: {}, 5: {}, 6: {}, 7: {},
		3: {pending: 2 * time.Microsecond, pendingRoom: 20}, // an index of the queue
		8: {pending: 2 * time.Microsecond, pendingRoom: 20}, // an index of the queue
		9: {pending: time.Microsecond},                      // an index that scans the queue
	},
	"postgres": {
		1: {}, 2: {}, 4: {}, 5: {}, 6: {}, 7: {}, 11: {}, 12: {},
		3:  {pending: 5 * time.Microsecond, pendingRoom: 50}, // an index of the queue
		8:  {pending: 5 * time.Microsecond, pendingRoom: 50}, // an index of the queue
		9:  {pending: 5 * time.Microsecond, pendingRoom: 50}, // an index of the queue
		10: {pending: 6 * time.Microsecond, pendingRoom: 50}, // an index of the queue, and a scan for another
	},
}

// estimate estimates the migrations from one version to another.
func estimate(ctx context.Context, db *sql.DB, engine string, from, to int64) (Migration, error) {
	m := Migration{From: from, To: to}
	// All versions have the totals.
	err := db.QueryRowContext(ctx, `SELECT
		CAST(coalesce(sum(CASE WHEN outcome = $1 THEN events - removed END), 0) AS bigint),
		CAST(coalesce(sum(CASE WHEN outcome NOT IN ($1, $2) THEN events - removed END), 0) AS bigint) FROM totals`,
		int64(adapter.Pending), int64(accepted)).Scan(&m.Pending, &m.Settled)
	if err != nil {
		return m, fmt.Errorf("read the totals: %w", err)
	}
	for version := from + 1; version <= to; version++ {
		c := migrationCosts[engine][version]
		m.Takes += migrationTime + time.Duration(m.Pending)*c.pending + time.Duration(m.Settled)*c.settled
		m.Room += m.Pending*c.pendingRoom + m.Settled*c.settledRoom
	}
	return m, nil
}
