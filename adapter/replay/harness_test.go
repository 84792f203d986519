package replay_test

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// tenant counts the events that it receives.
type tenant struct {
	mu     sync.Mutex
	events map[string]int      // by idempotency key, or body
	users  map[string][]string // bodies of upserts, by user
	answer func(*mapping.UserEvent) adapter.Attempt
	// refuses refuses upserts for good.
	refuses bool
}

func newTenant() *tenant {
	return &tenant{events: make(map[string]int), users: make(map[string][]string),
		answer: func(*mapping.UserEvent) adapter.Attempt {
			return adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
		}}
}

func (s *tenant) Send(_ context.Context, mapped *mapping.Result) adapter.Attempt {
	if mapped.Kind == mapping.KindUserUpsert {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuses {
			return adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400}
		}
		for _, upsert := range mapped.Upserts {
			s.users[upsert.UserID] = append(s.users[upsert.UserID], string(upsert.Body))
		}
		return adapter.Attempt{Outcome: adapter.Delivered}
	}
	event := &mapped.UserEvent
	attempt := s.answer(event)
	if attempt.Outcome == adapter.Delivered {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events[keyOf(event)]++
	}
	return attempt
}

func keyOf(event *mapping.UserEvent) string {
	if event.IdempotencyKey != "" {
		return event.IdempotencyKey
	}
	return string(event.Body)
}

// received returns how often each event was received, and resets the numbers.
func (s *tenant) received() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = make(map[string]int)
	return events
}

// process is a process that replays: a store with a dispatcher.
type process struct {
	t          testing.TB
	store      *store.Store
	mapper     *mapping.Mapper
	stop       context.CancelFunc
	dispatcher sync.WaitGroup
	settled    chan adapter.Result // of live traffic and replays, as far as there is room
}

func startProcess(t testing.TB, path string, to adapter.Sender) *process {
	t.Helper()
	return startProcessWith(t, path, to, replaytest.NewMapper(t))
}

func startProcessWith(t testing.TB, path string, to adapter.Sender, mapper *mapping.Mapper) *process {
	t.Helper()
	opened, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, store: opened, mapper: mapper, settled: make(chan adapter.Result, 100)}
	queue, err := opened.Connection(context.Background(), replaytest.Connection, replaytest.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	var running context.Context
	running, p.stop = context.WithCancel(context.Background())
	dispatcher := delivery.NewDispatcher(p.mapper, to, delivery.NewBreaker(delivery.BreakerOptions{}), queue,
		delivery.DispatcherOptions{Record: func(result adapter.Result) {
			select {
			case p.settled <- result:
			default:
			}
		}})
	p.dispatcher.Go(func() {
		if err := dispatcher.Run(running); err != nil {
			t.Error(err)
		}
	})
	return p
}

// end ends the process in any state.
func (p *process) end() {
	p.t.Helper()
	p.stop()
	p.dispatcher.Wait()
	if err := p.store.Close(); err != nil {
		p.t.Error(err)
	}
}

func (p *process) options() replay.Options {
	return replay.Options{Mapper: p.mapper, Now: func() time.Time { return replaytest.Now }}
}

func (p *process) ledger() *replay.Ledger {
	return &replay.Ledger{Store: p.store, Connection: replaytest.Connection, Tenant: replaytest.Tenant}
}

// deliver replays a spec to its end and returns the outcomes.
func (p *process) deliver(spec *replay.Spec) []adapter.Tally {
	p.t.Helper()
	run := replaytest.Begin(p.t, p.store, spec)
	if err := deliver(p.t, p.store, run, nil, spec, nil, p.choose(spec, p.options())); err != nil {
		p.t.Fatal(err)
	}
	return replaytest.Outcomes(p.t, p.store, run.ID)
}

// deliver begins or resumes a run.
func deliver(
	t testing.TB, runs adapter.RunStore, run *adapter.Run, objects []adapter.ObjectProgress,
	spec *replay.Spec, stdin io.Reader, opts replay.Options,
) error {
	t.Helper()
	return replaytest.Read(t, spec, stdin, replay.Resume(objects), func(blocks replay.Blocks) error {
		return replay.Deliver(context.Background(), runs, run, objects, blocks, opts)
	})
}

// dryRun counts the events of a spec.
func dryRun(t testing.TB, spec *replay.Spec, ledger *replay.Ledger, opts replay.Options) (counted *replay.Counted) {
	t.Helper()
	opts.Ledger = ledger
	err := replaytest.Read(t, spec, nil, nil, func(blocks replay.Blocks) (err error) {
		counted, err = replay.Count(context.Background(), spec, blocks, opts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return counted
}

// choose chooses identify calls if the spec asks for that.
func (p *process) choose(spec *replay.Spec, opts replay.Options) replay.Options {
	p.t.Helper()
	opts.Ledger = p.ledger()
	return chooseIdentify(p.t, spec, opts)
}

func chooseIdentify(t testing.TB, spec *replay.Spec, opts replay.Options) replay.Options {
	t.Helper()
	if spec.Identify != replay.IdentifyMerged && spec.Identify != replay.IdentifyNewest {
		return opts
	}
	err := replaytest.Read(t, spec, nil, nil, func(blocks replay.Blocks) (err error) {
		opts.Chosen, err = replay.ChooseIdentify(context.Background(), spec, blocks, opts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opts.Chosen.Close)
	return opts
}

// damagedFiles returns the number of damaged files among those that are read.
func damagedFiles(made *archivetest.Archive) int {
	return len(slices.DeleteFunc(slices.Clone(made.Files),
		func(f archivetest.File) bool { return !f.Log || f.Damage == archivetest.Whole }))
}
