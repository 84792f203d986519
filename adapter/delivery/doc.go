// Package delivery is the loop that takes one Segment event to one [adapter.Outcome].
//
// Durable delivery accepts events into a queue on disk ([Durable]). A [Dispatcher] leases them from
// the queue, maps them by today's rules and sends them until each has its outcome. Direct delivery
// ([Direct], [Retrier]) sends the events of a request before the answer, and keeps nothing.
//
// Both make single attempts through a [Sender], when the tenant's [Breaker] permits it: a circuit
// breaker with a concurrency limit and a rate limit. [Operations] lets operators look at stored
// deliveries, redrive and purge them.
//
// Only this package waits and retries. A Sender makes one attempt and returns.
package delivery
