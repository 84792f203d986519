package store

import "github.com/jackc/pgx/v5"

// steadySQL keeps the plans of a transaction from depending on the statistics. Those of a
// queue that was nearly empty a minute ago let PostgreSQL read the whole of it for a few
// events, and so does a plan that a connection has kept since then. What is left are scans
// of an index for conditions on its first columns. Without a cost that is worth it, nothing
// is compiled either: a forbidden scan that has no alternative looks expensive.
//
// A statement looks rows up by a list of ids, or row by row in a subquery with LIMIT, which
// PostgreSQL does not turn into a join: a join may read an index from end to end for its order.
// An index must not have the id of an event behind other columns: it would be read from end
// to end for a list of ids.
const steadySQL = `SELECT set_config(name, 'off', true)
	FROM unnest('{enable_seqscan, enable_bitmapscan, enable_mergejoin, jit}'::text[]) AS name`

// hashingSQL has the transactions of events join their lists by hashes. They join nothing
// else, and a list that looks short is not run through for each event of another.
const hashingSQL = `SELECT set_config('enable_nestloop', 'off', true)`

// steadily begins a transaction of events with these settings, in one round trip.
var steadily = pgx.TxOptions{BeginQuery: "BEGIN; " + steadySQL + "; " + hashingSQL}
