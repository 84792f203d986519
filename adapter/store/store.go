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

// Options are the choices of a store.
type Options struct {
	// URL is that of a PostgreSQL database, such as
	// postgres://user:password@host/database. Empty for SQLite.
	URL adapter.Secret
	// Path is the file of the SQLite database. Its directory is made if it does
	// not exist.
	Path string
	// Shared opens the database beside a process that delivers from it: for
	// operators' work. It makes and migrates nothing. Default: false.
	Shared bool
	// Offline opens the database for operators' work that must not go on beside a server:
	// it claims an SQLite file, and it makes and migrates the tables. Default: false.
	Offline bool
	// Tenants are the names of the tenants that the configured connections have, by
	// connection; empty where the tenant is not known. Pending events of another
	// tenant, or of a connection that is not configured, show as held. They are never
	// leased, whatever stands here. Default: nil, no event shows as held.
	Tenants map[string]string
	// Limits bound the backlog.
	Limits Limits
	// Retention says how long settled events are kept.
	Retention Retention
	// Cache bounds the page cache of SQLite's writing connection, in bytes. The process
	// takes up to twice as much for it, outside Go's heap. Default: 32 MiB.
	Cache int64
	// Now is the clock of the process. Default: that of an [adapter.Clock].
	Now func() time.Time
	// OnSkew is told how far the clock of the process is ahead of the database's when
	// that exceeds MaxSkew in either direction, and when it does not any more. Default:
	// it is told to nothing.
	OnSkew func(ahead time.Duration)
	// OnHeldLog is told of a reader that has kept SQLite's write-ahead log from beginning
	// anew for a minute, every ten minutes from then on, and when it does not any more.
	// Default: it is told to nothing.
	OnHeldLog func(HeldLog)
	// OnHealth is told when the store stops working, with the error, and when it
	// works again, with nil. Of a store that flaps it learns once, and that it works once
	// it has done so for 10 s. Default: nobody is told.
	OnHealth func(error)
	// OnRefused is told, at most every 10 minutes, that PostgreSQL grants the process fewer
	// connections than it may use. The store goes on with those that it has. Default: it is
	// told to nothing.
	OnRefused func(error)
	// OnMigration is told what a migration takes before it begins. Default: none.
	OnMigration func(Migration)
	// OnRetention is told what went wrong with background work. Default: nobody.
	OnRetention func(error)
	// OnDropped is told of payloads that Limits.DeadLetters has no room for. Those of dead
	// deliveries may be rewards that no customer gets. Default: none.
	OnDropped func(Dropped)

	application string // the application_name of PostgreSQL's sessions

	// For tests.
	messagesInMemory int           // of SQLite's index
	leaseFor         time.Duration // of PostgreSQL
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

// forOperators reports whether the store is opened for operators' work. Such a store does
// nothing by itself, and leaves no trace of having been open.
func (o *Options) forOperators() bool { return o.Shared || o.Offline }

// Limits bound what the store takes. Beyond the share of a connection, or the limit of the
// disk, nothing is accepted. Several processes on one PostgreSQL database learn of each
// other's events with a second's delay, so together they can go a little beyond. 0 sets no
// limit.
type Limits struct {
	// Shares bound the pending events of each connection, by its name. One connection's
	// backlog takes nothing of another's share.
	Shares map[string]Share
	// FreeDisk is how much room stays free where the SQLite file is, in bytes. A quarter
	// of it, at most 64 MiB, is taken up by a ballast, which the store gives up when other
	// programs have filled the disk.
	FreeDisk int64
	// DeadLetters is how large the payloads of dead and rejected deliveries may be
	// together, in bytes. Beyond it the oldest are dropped, and those of dead deliveries only
	// when no rejected one has any. Unlike the other limits it keeps no event out.
	DeadLetters int64
}

// Share bounds the pending events of a connection.
type Share struct {
	// Events is how many may be pending.
	Events int64
	// Bytes is how large their payloads may be together.
	Bytes int64
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	engine  engine
	names   *names
	tenants map[string]string
	// eventNames are Segment's names of events.
	eventNames *eventNames
	// former is the id before which events may have a former identity, by which they are
	// looked up too. 0 if there are none.
	former    atomic.Int64
	scanNoted int64
	// isIndexed says that the indexes of the log are complete.
	isIndexed atomic.Bool
	// oldestFormer is the first id at which forgetFormer has to look for such events.
	oldestFormer atomic.Int64
	limits       Limits
	retention    Retention
	now          func() time.Time
	backlog      backlog
	// oldRefused and oldSettled are the ways on which events are deleted that are past
	// their time.
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
	// pacer has operators' work go in steps.
	pacer *pacer
	// trimming has one place, for the goroutine that drops payloads. It is no mutex, as in
	// sqliteEngine.
	trimming chan struct{}
	// longReads has a place for each long read under way.
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

// Open opens the database, making or migrating its tables as needed. It fails if
// the tables are newer than this program, if the file is in use by another
// process (unless Options.Shared), or damaged.
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

// Close ends the background work and closes the database. Calls under way fail or
// finish.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	s.stop()
	s.workers.Wait()
	return wrap("close the store", s.engine.close())
}

// Ready returns nil if the store accepts and delivers events as far as is known, else what
// is wrong. Where no transaction succeeds, be it that there is none, it is known by a write
// of the store's own: within 5 s of a request, and within 15 s without any. A backlog of
// too many events or bytes is none of that: it gets smaller.
func (s *Store) Ready() error { return s.health.err() }

// Connection returns the queue of the connection's events at its tenant. Events that
// the connection has of another tenant stay in the store: no lease takes them.
// Events of connections with the same tenant are told apart by their identity alone:
// one of them is a duplicate of the other.
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

// newQueue returns a queue that nobody wakes.
func (s *Store) newQueue(ctx context.Context, name, tenant string) (*Queue, error) {
	connectionID, err := s.names.id(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("register connection %s: %w", name, err)
	}
	tenantID, err := s.names.id(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("register the tenant of connection %s: %w", name, err)
	}
	return &Queue{store: s, connection: connectionID, tenant: tenantID, share: s.limits.Shares[name], wake: make(chan struct{}, 1)}, nil
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
