package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
)

// Options configure a store.
type Options struct {
	// URL is the URL of a PostgreSQL database, such as postgres://user:password@host/database. Empty for SQLite.
	URL adapter.Secret
	// Path is the file of the SQLite database. Open makes its directory if there is none.
	Path string
	// Shared opens the database for operators' work beside a process that delivers from it. Open then makes and
	// migrates no tables. Default: false.
	Shared bool
	// Offline opens the database for operators' work that no server may run beside. Open claims an SQLite file, and
	// makes and migrates the tables. Default: false.
	Offline bool
	// Tenants are the tenants of the configured connections, by connection. An empty tenant is unknown. Pending
	// events of another tenant, or of a connection that is not configured, show as held. They are never leased, with
	// or without Tenants. Default: nil, no event shows as held.
	Tenants map[string]string
	// Limits bound the backlog.
	Limits Limits
	// Retention bounds how long settled events are kept.
	Retention Retention
	// Cache bounds the page cache of SQLite's writing connection, in bytes. The process uses up to twice as much for
	// it, outside Go's heap. Default: 32 MiB.
	Cache int64
	// Now is the clock of the process. Default: that of an [adapter.Clock].
	Now func() time.Time
	// OnSkew is called with the lead of the process's clock over the database's clock: when it exceeds MaxSkew in
	// either direction, and when it no longer does. Default: it does nothing.
	OnSkew func(ahead time.Duration)
	// OnHeldLog is called when a reader has kept SQLite's write-ahead log from restarting for a minute, every ten
	// minutes after that, and when no reader does any more. Default: it does nothing.
	OnHeldLog func(HeldLog)
	// OnHealth is called with the error when the store stops working, and with nil when it works again. A store that
	// flaps causes one call, and the call with nil follows after 10 s without an error. Default: it does nothing.
	OnHealth func(error)
	// OnRefused is called, at most every 10 minutes, when PostgreSQL grants the process fewer connections than it may
	// use. The store goes on with the connections that it has. Default: it does nothing.
	OnRefused func(error)
	// OnMigration is called with the cost of a migration before it begins. Default: it does nothing.
	OnMigration func(Migration)
	// OnRetention is called with errors of background work. Default: it does nothing.
	OnRetention func(error)
	// OnDropped is called with payloads that Limits.DeadLetters has no room for. Payloads of dead deliveries may be
	// rewards that no customer gets. Default: it does nothing.
	OnDropped func(Dropped)

	application string // the application_name of PostgreSQL's sessions

	// For tests.
	messagesInMemory int           // of SQLite's index
	leaseFor         time.Duration // of PostgreSQL
	fillFor          time.Duration // of PostgreSQL
	resolveFor       time.Duration // of PostgreSQL
	databaseNow      func() time.Time
	longReadWait     time.Duration
	scanning         func() // called in a long read
	maxLog           int64  // of SQLite
	heldLogAfter     time.Duration
	maxEventNames    int
	scanNoted        int64
	committed        func() // called between a commit and its answer
	stepped          func(rows int, bytes int64)
	patience         patience
	pooled           bool // PostgreSQL is behind a pooler
}

// forOperators reports whether the store is open for operators' work. Such a store does no background work, and
// leaves no trace in the database.
func (o *Options) forOperators() bool { return o.Shared || o.Offline }

// Limits bound the stored events. The store refuses events beyond the share of a connection or the limit of the disk.
// Several processes on one PostgreSQL database learn of each other's events after a second, so together they can
// exceed a limit a little. 0 sets no limit.
type Limits struct {
	// Shares bound the pending events of each connection, by name. No connection uses up the share of another.
	Shares map[string]Share
	// FreeDisk is the room that stays free on the disk of the SQLite file, in bytes. A ballast file takes up a
	// quarter of it, at most 64 MiB. The store deletes the ballast when other programs fill the disk.
	FreeDisk int64
	// DeadLetters bounds the payloads of dead and rejected deliveries together, in bytes. Beyond it the oldest
	// payloads are dropped: those of rejected deliveries first, then those of dead ones. No event is refused because
	// of this limit.
	DeadLetters int64
}

// Share bounds the pending events of a connection.
type Share struct {
	// Events bounds their number.
	Events int64
	// Bytes bounds the sum of their payloads.
	Bytes int64
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	engine  engine
	names   *names
	tenants map[string]string
	// eventNames are Segment's names of events.
	eventNames *eventNames
	// former is the id before which events may have a former identity. The store looks up such events by both
	// identities. 0 if there are none.
	former    atomic.Int64
	scanNoted int64
	// isIndexed is set once the indexes of the log are complete.
	isIndexed atomic.Bool
	// oldestFormer is the id from which forgetFormer looks for such events.
	oldestFormer atomic.Int64
	limits       Limits
	retention    Retention
	now          func() time.Time
	backlog      backlog
	// oldRefused and oldSettled delete events whose retention is over.
	oldRefused, oldSettled walk
	// unknownRecordings has an unknownRecording by leaseKey. Each stays until its caller records the outcome again,
	// which the caller does while it has the lease. The database is asked for the earlier commit first.
	unknownRecordings sync.Map
	health            health
	progress          progress
	patience          patience
	operators         bool // see Options.forOperators
	committed         func()
	skew              skew
	heldLogs          heldLogs
	onDropped         func(Dropped)
	// pacer splits operators' work into steps.
	pacer *pacer
	// trimming has one place, for the goroutine that drops payloads; see sqliteEngine.writing for why it is no mutex.
	trimming chan struct{}
	// longReads has a place for each running long read.
	longReads    chan struct{}
	longReadWait time.Duration
	scanning     func()
	heldCounts   heldCounts
	submitted    chan *submission
	stop         context.CancelFunc
	stopped      context.Context // ends when Close begins
	workers      sync.WaitGroup
	closing      atomic.Bool

	mu     sync.Mutex
	queues map[int64][]*Queue // by connection
	runs   map[int64]*Queue   // of the runs that this process works on
}

// Open opens the database, and makes or migrates its tables as needed. It fails if the tables are newer than this
// program, if the file is damaged, or if another process uses it (unless Options.Shared is set).
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = adapter.NewClock(adapter.ClockOptions{}).Now
	}
	if opts.committed == nil {
		opts.committed = func() {}
	}
	if opts.stepped == nil {
		opts.stepped = func(int, int64) {}
	}
	if opts.scanning == nil {
		opts.scanning = func() {}
	}
	opts.OnHealth, opts.OnRetention = orIgnore(opts.OnHealth), orIgnore(opts.OnRetention)
	opts.OnSkew, opts.OnHeldLog = orIgnore(opts.OnSkew), orIgnore(opts.OnHeldLog)
	opts.OnMigration, opts.OnDropped = orIgnore(opts.OnMigration), orIgnore(opts.OnDropped)
	var opened engine
	var err error
	if opts.URL.IsZero() {
		opened, err = openSQLite(ctx, opts)
	} else {
		opened, err = openPostgres(ctx, opts)
	}
	if err != nil {
		return nil, err
	}
	s := &Store{
		engine:    opened,
		tenants:   opts.Tenants,
		limits:    opts.Limits,
		backlog:   newBacklog(),
		retention: opts.Retention,
		now:       opts.Now,
		health:    health{onChange: opts.OnHealth, quiet: cmp.Or(opts.patience, defaultPatience).quiet},
		progress:  progress{since: time.Now()},
		patience:  cmp.Or(opts.patience, defaultPatience),
		operators: opts.forOperators(),
		committed: opts.committed,
		skew:      skew{onChange: opts.OnSkew},
		heldLogs:  heldLogs{onChange: opts.OnHeldLog, after: cmp.Or(opts.heldLogAfter, heldLogAfter)},
		onDropped: opts.OnDropped,
		pacer:     newPacer(opened.pace(), opts.stepped),
		trimming:  make(chan struct{}, 1),
		longReads: make(chan struct{}, longReads),
		submitted: make(chan *submission),

		longReadWait: cmp.Or(opts.longReadWait, longReadWait),
		scanning:     opts.scanning,
		heldCounts:   heldCounts{byTenant: make(map[[2]int64]heldCount)},

		queues: make(map[int64][]*Queue),
		runs:   make(map[int64]*Queue),

		oldRefused: walk{keep: opts.Retention.Dead, refused: true},
		oldSettled: walk{keep: opts.Retention.Ledger},
		scanNoted:  cmp.Or(opts.scanNoted, scanNoted),
	}
	if s.names, err = loadNames(ctx, opened); err == nil {
		s.eventNames, err = loadEventNames(ctx, opened, &s.progress, cmp.Or(opts.maxEventNames, maxEventNames))
	}
	if err == nil {
		err = checkCopied(ctx, opened)
	}
	if err == nil {
		err = s.loadFormerIdentities(ctx)
	}
	if err == nil {
		err = s.measure(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	s.stopped, s.stop = context.WithCancel(context.Background())
	for range opened.committers() {
		s.workers.Go(s.commitAll)
	}
	s.workers.Go(func() { s.watch(s.stopped) })
	s.workers.Go(func() { s.tryWrites(s.stopped) })
	s.workers.Go(func() { s.maintain(s.stopped) })
	if !s.operators {
		s.workers.Go(func() { s.retain(s.stopped, opts.OnRetention) })
		s.workers.Go(func() { s.completeIndexes(s.stopped, opts.OnRetention) })
	}
	return s, nil
}

// orIgnore returns a function that ignores its argument in the place of nil.
func orIgnore[T any](told func(T)) func(T) {
	if told == nil {
		return func(T) {}
	}
	return told
}

// ErrClosed means that the store has been closed.
var ErrClosed = errors.New("the store is closed")

// Close ends the background work and closes the database. Running calls fail or finish.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	s.stop()
	s.workers.Wait()
	return wrap("close the store", s.engine.close())
}

// Ready returns nil if the store accepts and delivers events as far as is known, or else the fault. When no
// transaction succeeds, or none is made, a write of the store's own finds a fault: within 5 s of a request, and
// within 15 s without one. A full backlog is not a fault: it gets smaller by itself.
func (s *Store) Ready() error { return s.health.err() }

// Connection returns the queue of the connection's events for its tenant. The connection's events of another tenant
// stay in the store: no lease takes them. Connections with the same tenant share its ledger: of two events with the
// same identity, one is a duplicate of the other.
func (s *Store) Connection(ctx context.Context, name, tenant string) (*Queue, error) {
	q, err := s.newQueue(ctx, name, tenant)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[q.connection] = append(s.queues[q.connection], q)
	return q, nil
}

// newQueue returns a queue that wakeAll does not wake.
func (s *Store) newQueue(ctx context.Context, name, tenant string) (*Queue, error) {
	connectionID, err := s.names.id(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("register connection %s: %w", name, err)
	}
	tenantID, err := s.names.id(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("register the tenant of connection %s: %w", name, err)
	}
	return &Queue{
		store: s, connection: connectionID, tenant: tenantID, share: s.limits.Shares[name],
		wake: make(chan struct{}, 1),
	}, nil
}

// wakeAll wakes the delivery loops of this process.
func (s *Store) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, queues := range s.queues {
		for _, q := range queues {
			q.wakeUp()
		}
	}
}
