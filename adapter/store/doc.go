// Package store keeps deliveries on disk: the queue of pending events, the log of
// settled ones, which is the ledger as well, and the payloads of those that may
// have to be sent again. It has two engines with the same tables: SQLite for one
// process and PostgreSQL for several that share the work.
//
// An event is in the queue or in the log, never in both, and moves between them
// in one transaction, together with the running totals. So at any moment, for
// each connection, accepted = delivered + duplicate + skipped + rejected + dead +
// pending; [Store.Verify] counts the rows and says so.
//
// An event belongs to the tenant that it was accepted for. Leases hand it out for
// that tenant alone, and the ledger is one for each tenant. Where the connection has
// another tenant by now, the event stays pending until an operator moves it.
package store
