package store

import "time"

// WithMessagesInMemory returns the options with another size of SQLite's index in
// memory, so that a test need not store a great many events to have it spill.
func WithMessagesInMemory(opts Options, n int) Options {
	opts.messagesInMemory = n
	return opts
}

// MaintainInterval is how often an engine looks after itself.
const MaintainInterval = maintainInterval

// WithLease returns the options with another length of PostgreSQL's leases.
func WithLease(opts Options, d time.Duration) Options {
	opts.leaseFor = d
	return opts
}

// WithEventNames returns the options with another number of event names that the store
// holds.
func WithEventNames(opts Options, n int) Options {
	opts.maxEventNames = n
	return opts
}

// WithCommitted returns the options with a function that is called between each commit
// and its answer.
func WithCommitted(opts Options, f func()) Options {
	opts.committed = f
	return opts
}
