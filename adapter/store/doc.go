// Package store keeps deliveries on disk: the queue of pending events, the log of settled events, and the payloads of
// events that may be sent again. The log is also the ledger. The package has two engines with the same tables: SQLite
// for one process, and PostgreSQL for several processes that share the work.
//
// An event is in the queue or in the log, never in both. One transaction moves it and updates the running totals. So
// at any moment, for each connection, accepted = delivered + duplicate + skipped + rejected + dead + pending.
// [Store.Verify] counts the rows and checks this.
//
// An event belongs to the tenant that it was accepted for. Leases hand it out for that tenant only, and each tenant
// has a ledger of its own. If the connection has another tenant now, the event stays pending until an operator moves
// it.
package store
