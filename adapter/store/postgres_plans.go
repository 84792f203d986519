package store

import "github.com/jackc/pgx/v5"

// steadySQL makes the plans of a transaction independent of the statistics. With statistics of a queue that was
// nearly empty a minute ago, PostgreSQL may read the whole queue for a few events. So may a plan that a connection
// has kept since then. The settings leave scans of an index for conditions on its first columns. They also disable
// compilation: a forbidden scan without an alternative looks expensive, and would start it.
//
// A statement looks up rows by a list of ids, or row by row in a subquery with LIMIT, which PostgreSQL does not turn
// into a join: a join may read an index from end to end for its order. An index must not have the id of an event
// after other columns: PostgreSQL would read it from end to end for a list of ids.
const steadySQL = `SELECT set_config(name, 'off', true)
	FROM unnest('{enable_seqscan, enable_bitmapscan, enable_mergejoin, jit}'::text[]) AS name`

// hashJoinSQL makes the transactions of events join their lists by hashes. They join nothing else. Otherwise
// PostgreSQL would scan a list that looks short once for each event of another list.
const hashJoinSQL = `SELECT set_config('enable_nestloop', 'off', true)`

// steadyOptions begin a transaction of events with these settings, in one round trip.
var steadyOptions = pgx.TxOptions{BeginQuery: "BEGIN; " + steadySQL + "; " + hashJoinSQL}
