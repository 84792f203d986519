package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

const (
	testConnection = "default"
	testTenant     = "https://example.test/test_tenant"
)

var testNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// tenant counts the events that it is sent.
type tenant struct {
	mu     sync.Mutex
	events map[string]int      // by idempotency key, or body
	users  map[string][]string // bodies of upserts, by user
	answer func(*mapping.UserEvent) adapter.Attempt
	// refuses has upserts refused for good.
	refuses bool
}

func newTenant() *tenant {
	return &tenant{events: make(map[string]int), users: make(map[string][]string), answer: func(*mapping.UserEvent) adapter.Attempt {
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

// received returns how often each event was received, and forgets.
func (s *tenant) received() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = make(map[string]int)
	return events
}

func newMapper(t testing.TB) *mapping.Mapper {
	t.Helper()
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	return mapper
}

// process is a process that replays: a store with a dispatcher that delivers from it.
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
	return startProcessWith(t, path, to, newMapper(t))
}

func startProcessWith(t testing.TB, path string, to adapter.Sender, mapper *mapping.Mapper) *process {
	t.Helper()
	opened, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, store: opened, mapper: mapper, settled: make(chan adapter.Result, 100)}
	queue, err := opened.Connection(context.Background(), testConnection, testTenant)
	if err != nil {
		t.Fatal(err)
	}
	var running context.Context
	running, p.stop = context.WithCancel(context.Background())
	dispatcher := delivery.NewDispatcher(p.mapper, to, delivery.NewBreaker(delivery.BreakerOptions{}), queue, delivery.DispatcherOptions{Record: func(result adapter.Result) {
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

// end ends the process, in good order or as it stands.
func (p *process) end() {
	p.t.Helper()
	p.stop()
	p.dispatcher.Wait()
	if err := p.store.Close(); err != nil {
		p.t.Error(err)
	}
}

func (p *process) options() replay.Options {
	return replay.Options{Mapper: p.mapper, Now: func() time.Time { return testNow }}
}

// begin begins a run.
func (p *process) begin(replays adapter.RunStore, spec *replay.Spec) *adapter.Run {
	p.t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		p.t.Fatal(err)
	}
	run, err := replays.BeginRun(context.Background(), testConnection, testTenant, text)
	if err != nil {
		p.t.Fatal(err)
	}
	return run
}

// read opens the sources of a spec.
func read(t testing.TB, spec *replay.Spec, stdin io.Reader, resume func(archive.Object) (int64, bool), fn func(replay.Blocks) error) error {
	t.Helper()
	opened, err := archive.Open(context.Background(), spec.Sources, archive.Options{Stdin: stdin, From: spec.From, To: spec.To, Sources: spec.SourceIDs})
	if err != nil {
		t.Fatal(err)
	}
	reader := opened.Read(context.Background(), archive.ReadOptions{Resume: resume})
	err = fn(reader)
	if closeErr := reader.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	if closeErr := opened.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	return err
}

// deliver replays a spec to its end and returns what became of the events.
func (p *process) deliver(spec *replay.Spec) []adapter.Tally {
	p.t.Helper()
	run := p.begin(p.store, spec)
	opts := p.choose(spec, p.options())
	err := read(p.t, spec, nil, nil, func(blocks replay.Blocks) error {
		return replay.Deliver(context.Background(), p.store, run, nil, blocks, opts)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.outcomes(run.ID)
}

// choose chooses the identify calls of the spec, if it asks for one of each user.
func (p *process) choose(spec *replay.Spec, opts replay.Options) replay.Options {
	p.t.Helper()
	opts.Ledger = &replay.LookUp{Ledger: p.store, Connection: testConnection, Tenant: testTenant}
	return chooseIdentify(p.t, spec, opts)
}

func chooseIdentify(t testing.TB, spec *replay.Spec, opts replay.Options) replay.Options {
	t.Helper()
	if spec.Identify != replay.IdentifyMerged && spec.Identify != replay.IdentifyNewest {
		return opts
	}
	err := read(t, spec, nil, nil, func(blocks replay.Blocks) (err error) {
		opts.Chosen, err = replay.ChooseIdentify(context.Background(), spec, blocks, opts)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opts.Chosen.Close)
	return opts
}

func (p *process) outcomes(id int64) []adapter.Tally {
	p.t.Helper()
	run, _, err := p.store.Run(context.Background(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return run.Outcomes
}

func text(tallies []adapter.Tally) string {
	var parts []string
	for _, tally := range tallies {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s %s", tally.Events, tally.Outcome, tally.Reason)))
	}
	return strings.Join(parts, ", ")
}

// check holds what arrived and what was reported against the expectation.
func check(t testing.TB, want *archivetest.Expectation, received map[string]int, outcomes []adapter.Tally) {
	t.Helper()
	got := make(map[string]int)
	for _, tally := range outcomes {
		got[tally.Outcome.String()] += int(tally.Events)
	}
	for _, fault := range want.Compare(received, got) {
		t.Error(fault)
	}
}

func expect(made *archivetest.Archive) *archivetest.Expectation {
	return made.Expect(testNow, append(slices.Clone(replay.DefaultIntegrations), "All"))
}

// makeArchive makes an archive in a directory.
func makeArchive(t testing.TB, o archivetest.Options) (*archivetest.Archive, *replay.Spec) {
	t.Helper()
	o.Now = testNow
	made := archivetest.Generate(o)
	dir := t.TempDir()
	made.WriteDir(t, dir)
	return made, &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI, Identify: replay.IdentifyNone, Filter: replay.Filter{Integrations: replay.DefaultIntegrations}}
}

// damagedFiles returns how many of the files that are read are damaged.
func damagedFiles(made *archivetest.Archive) int {
	return len(slices.DeleteFunc(slices.Clone(made.Files), func(f archivetest.File) bool { return !f.Log || f.Damage == archivetest.Whole }))
}

// emptyStore is the file of a store with all tables and nothing in them. The tests open some
// 300 stores, and making the tables takes most of the time that opening one does.
var emptyStore = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "adapter.db")
	opened, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		return nil, err
	}
	if err := opened.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// storePath makes an empty store and returns the path of its file.
func storePath(t testing.TB) string {
	t.Helper()
	file, err := emptyStore()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "adapter.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
