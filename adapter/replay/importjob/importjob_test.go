package importjob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/importjob"
	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

const importKey = "TEST_import"

// importTenant is a simulated SaaSquatch with import jobs.
type importTenant struct {
	*sandbox.Server
	url string
}

func newImportTenant(t *testing.T, o sandbox.Options) *importTenant {
	t.Helper()
	o.Tenants = map[string]string{"test_tenant": importKey}
	if o.Users == 0 {
		o.Users = sandbox.AnyUser
	}
	if o.Rand == nil { // what a test expects must not be left to chance
		o.Rand = rand.New(rand.NewPCG(1, 2))
	}
	server, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	return &importTenant{server, listening.URL}
}

func (s *importTenant) importer(t *testing.T) *saasquatch.Importer {
	t.Helper()
	importer, err := saasquatch.NewImporter(saasquatch.Options{BaseURL: s.url, TenantAlias: "test_tenant",
		APIKey: adapter.NewSecret(importKey)})
	if err != nil {
		t.Fatal(err)
	}
	return importer
}

// received returns how often each event was accepted, by idempotency key.
func (s *importTenant) received() map[string]int {
	events := make(map[string]int)
	for _, event := range s.Events() {
		key := event.IdempotencyKey
		if key == "" {
			key = event.UserID + " " + event.Key + " " + fmt.Sprint(event.DateTriggered) + string(event.Fields)
		}
		events[key]++
	}
	return events
}

// importing replays by import jobs.
type importing struct {
	t     *testing.T
	path  string
	store *store.Store
	opts  importjob.Options
	spec  *replay.Spec
	wrap  func(adapter.ImportStore) adapter.ImportStore // nil for the store itself
}

func newImporting(t *testing.T, spec *replay.Spec) *importing {
	spec.Via = replay.ViaImport
	i := &importing{t: t, path: replaytest.StorePath(t), spec: spec}
	i.opts = importjob.Options{Options: replaytest.NewOptions(t), Poll: time.Millisecond}
	i.opts.Dir = t.TempDir()
	i.open()
	return i
}

func (i *importing) open() {
	i.t.Helper()
	var err error
	if i.store, err = store.Open(context.Background(), store.Options{Path: i.path}); err != nil {
		i.t.Fatal(err)
	}
}

// restart ends the process in any state, and starts another.
func (i *importing) restart() {
	i.t.Helper()
	if err := i.store.Close(); err != nil {
		i.t.Fatal(err)
	}
	i.open()
}

func (i *importing) close() {
	i.t.Helper()
	if err := i.store.Close(); err != nil {
		i.t.Error(err)
	}
}

// run begins or resumes the run with the number.
func (i *importing) run(id int64, importer importjob.Importer) (*adapter.Run, error) {
	i.t.Helper()
	ctx := context.Background()
	var run *adapter.Run
	var objects []adapter.ObjectProgress
	if id == 0 {
		run = replaytest.Begin(i.t, i.store, i.spec)
	} else {
		var err error
		if run, objects, err = i.store.TakeRun(ctx, id); err != nil {
			i.t.Fatal(err)
		}
	}
	imports := adapter.ImportStore(i.store)
	if i.wrap != nil {
		imports = i.wrap(imports)
	}
	err := replaytest.Read(i.t, i.spec, nil, replay.Resume(objects), func(blocks replay.Blocks) error {
		return importjob.Run(ctx, imports, run, objects, importer, blocks, i.opts)
	})
	return run, err
}

func (i *importing) outcomes(id int64) []adapter.Tally {
	return replaytest.Outcomes(i.t, i.store, id)
}

// TestImport imports an archive in several jobs, with records counted from 0 or 1, with and without failed records.
func TestImport(t *testing.T) {
	t.Parallel()
	for _, base := range []sandbox.RecordBase{sandbox.RecordsFromOne, sandbox.RecordsFromZero} {
		for _, refuse := range []float64{0, 0.03, 1} {
			t.Run(fmt.Sprintf("base %d, %v%% refused", base, 100*refuse), func(t *testing.T) {
				made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 300})
				faults := sandbox.JobFaults{}
				if refuse > 0 {
					faults.RefuseRecords = []sandbox.FailRule{{Rate: refuse, Status: 400}}
				}
				to := newImportTenant(t, sandbox.Options{RecordNumberBase: base, Jobs: faults})
				i := newImporting(t, spec)
				defer i.close()
				i.opts.MaxLines = 100
				run, err := i.run(0, to.importer(t))
				if err != nil {
					t.Fatal(err)
				}
				want := replaytest.Expect(made)
				received := to.received()
				outcomes := i.outcomes(run.ID)
				refused := 0
				for _, tally := range outcomes {
					if tally.Outcome == adapter.Dead && tally.Reason == mapping.ReasonRefused {
						refused = int(tally.Events)
					}
				}
				stats := to.Stats()
				if uint64(refused) != stats.RecordErrors || refuse > 0 != (refused > 0) || stats.Jobs.Completed < 2 {
					t.Errorf("%d refused; %+v", refused, stats)
				}
				if refused == 0 {
					replaytest.Check(t, want, received, outcomes)
				}
				checkSettledRight(t, i.store, run.ID, received)
				for _, event := range to.Events() {
					if event.Import == nil || string(event.Import.Programs) != "false" ||
						string(event.Import.Webhooks) != "false" {
						t.Fatalf("an event fires programs or webhooks: %+v", event)
					}
				}
				// Another replay has nothing to do, because the store knows all imported events.
				before := stats.Jobs.Completed
				if refused == 0 {
					again, err := i.run(0, to.importer(t))
					if err != nil {
						t.Fatal(err)
					}
					if after := to.Stats().Jobs.Completed; after != before {
						t.Errorf("%d jobs for what was imported: %s", after-before,
							replaytest.Text(i.outcomes(again.ID)))
					}
				}
			})
		}
	}
}

// checkSettledRight compares the outcome of every event with a key with its arrivals.
func checkSettledRight(t *testing.T, s *store.Store, run int64, received map[string]int) {
	t.Helper()
	deliveries, err := s.Find(context.Background(),
		adapter.Filter{Run: run, Outcomes: []adapter.Outcome{adapter.Delivered, adapter.Duplicate, adapter.Dead}},
		1<<20)
	if err != nil {
		t.Fatal(err)
	}
	// An event that was refused may come again, and be taken.
	taken := make(map[string]bool)
	for _, d := range deliveries {
		if mapping.IsIdempotencyKey(d.MessageID) {
			taken[d.MessageID] = taken[d.MessageID] || d.Outcome != adapter.Dead
		}
	}
	for messageID, taken := range taken {
		if n := received[messageID]; n > 1 || taken != (n == 1) {
			t.Errorf("%s counts as taken: %t, and arrived %d times", messageID, taken, n)
		}
	}
}

// TestImportUnknownUsers imports events of users that SaaSquatch does not know.
func TestImportUnknownUsers(t *testing.T) {
	t.Parallel()
	_, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 100, Clean: true})
	to := newImportTenant(t, sandbox.Options{Users: sandbox.KnownUsers})
	i := newImporting(t, spec)
	defer i.close()
	run, err := i.run(0, to.importer(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := replaytest.Text(i.outcomes(run.ID)); !strings.Contains(got, "dead user_not_found") ||
		strings.Contains(got, "delivered,") {
		t.Error(got)
	}
}

// TestImportAborted makes SaaSquatch abort jobs after some of their records. Imported events count once; events of the
// last aborted job are dead letters.
func TestImportAborted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		aborted int
		want    adapter.Outcome
	}{{1, adapter.Delivered}, {2, adapter.Delivered}, {3, adapter.Dead}} {
		t.Run(fmt.Sprint(test.aborted), func(t *testing.T) {
			made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 200, Clean: true})
			to := newImportTenant(t, sandbox.Options{Jobs: sandbox.JobFaults{AbortFirst: test.aborted,
				AbortAfter: 20}})
			i := newImporting(t, spec)
			defer i.close()
			i.opts.UnkeyedDead = true
			run, err := i.run(0, to.importer(t))
			if err != nil {
				t.Fatal(err)
			}
			outcomes := replaytest.Text(i.outcomes(run.ID))
			received := to.received()
			want := replaytest.Expect(made)
			switch test.want {
			case adapter.Delivered:
				for key := range want.Keys {
					if received[key] != 1 {
						t.Errorf("%s arrived %d times", key, received[key])
					}
				}
				if !strings.Contains(outcomes, "conflict_after_failure") ||
					!strings.Contains(outcomes, "dead unkeyed_ambiguous") {
					t.Error(outcomes)
				}
			case adapter.Dead:
				if !strings.Contains(outcomes, "dead import_aborted") || strings.Contains(outcomes, "pending") {
					t.Error(outcomes)
				}
			}
			for key, n := range received {
				if n != 1 {
					t.Errorf("%s arrived %d times", key, n)
				}
			}
		})
	}
}

var errCrash = errors.New("crash")

// crashing is an importer that fails at one call, before or after it.
type crashing struct {
	importjob.Importer
	at    int
	after bool
	n     int
}

func (c *crashing) crash() (before, after error) {
	c.n++
	switch {
	case c.n != c.at:
		return nil, nil
	case c.after:
		return nil, errCrash
	default:
		return errCrash, nil
	}
}

func (c *crashing) Upload(ctx context.Context, name string, size int64, open func() (io.ReadCloser, error)) (string,
	error) {
	before, after := c.crash()
	if before != nil {
		return "", before
	}
	ref, err := c.Importer.Upload(ctx, name, size, open)
	return ref, errors.Join(err, after)
}

// CreateJob panics, as a process that ends here: the job's id is lost.
func (c *crashing) CreateJob(ctx context.Context, input adapter.JobInput) (adapter.ImportJob, error) {
	before, after := c.crash()
	if before != nil {
		panic(errCrash)
	}
	job, err := c.Importer.CreateJob(ctx, input)
	if after != nil {
		panic(errCrash)
	}
	return job, err
}

func (c *crashing) Job(ctx context.Context, id string) (adapter.ImportJob, error) {
	before, after := c.crash()
	if before != nil {
		return adapter.ImportJob{}, before
	}
	job, err := c.Importer.Job(ctx, id)
	return job, errors.Join(err, after)
}

// TestImportResumeAnywhere ends an import at every call to SaaSquatch and resumes it in another process.
func TestImportResumeAnywhere(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 60, Clean: true, Days: 2})
	want := replaytest.Expect(made)
	for _, after := range []bool{false, true} {
		crashed := true
		first, step := replaytest.CrashPoints()
		for at := first; crashed; at += step {
			to := newImportTenant(t, sandbox.Options{})
			i := newImporting(t, spec)
			i.opts.MaxLines = 10
			i.opts.UnkeyedDead = true // so that none of them comes twice
			crashed = func() (crashed bool) {
				defer func() {
					if cause := recover(); cause != nil {
						if cause != error(errCrash) {
							panic(cause)
						}
						crashed = true
					}
				}()
				_, err := i.run(0, &crashing{Importer: to.importer(t), at: at, after: after})
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				return err != nil
			}()
			if crashed {
				i.restart()
				if _, err := i.run(1, to.importer(t)); err != nil {
					t.Fatal(err)
				}
			}
			received, outcomes := to.received(), replaytest.Text(i.outcomes(1))
			for key := range want.Keys {
				if received[key] != 1 {
					t.Errorf("crash at call %d, after it %t: %s arrived %d times", at, after, key, received[key])
				}
			}
			for key, n := range received {
				if n != 1 {
					t.Errorf("crash at call %d, after it %t: %s arrived %d times", at, after, key, n)
				}
			}
			if strings.Contains(outcomes, "pending") {
				t.Errorf("crash at call %d, after it %t: %s", at, after, outcomes)
			}
			i.close()
			if !crashed && at < 6 {
				t.Fatalf("only %d calls", at)
			}
		}
	}
}

// TestImportPastHorizon resumes with a job of unknown fate after SaaSquatch has forgotten the keys: nothing is sent
// twice.
func TestImportPastHorizon(t *testing.T) {
	t.Parallel()
	_, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 60, Clean: true, Days: 1})
	to := newImportTenant(t, sandbox.Options{})
	i := newImporting(t, spec)
	defer i.close()
	func() {
		defer func() { _ = recover() }()
		_, _ = i.run(0, &crashing{Importer: to.importer(t), at: 2, after: true})
	}()
	before := maps.Clone(to.received())
	if err := to.Advance(25 * time.Hour); err != nil {
		t.Fatal(err)
	}
	i.opts.Now = func() time.Time { return replaytest.Now.Add(25 * time.Hour) }
	i.restart()
	if _, err := i.run(1, to.importer(t)); err != nil {
		t.Fatal(err)
	}
	if got := replaytest.Text(i.outcomes(1)); !strings.Contains(got, "dead horizon_over") {
		t.Error(got)
	}
	if received := to.received(); !maps.Equal(received, before) {
		t.Errorf("%d events before, %d after", len(before), len(received))
	}
}

// TestImportRefusedFile keeps the events held when SaaSquatch refuses the file, and returns the reason.
func TestImportRefusedFile(t *testing.T) {
	t.Parallel()
	_, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 60, Clean: true, Days: 1})
	to := newImportTenant(t, sandbox.Options{})
	i := newImporting(t, spec)
	defer i.close()
	_, err := i.run(0, refusing{to.importer(t)})
	var invalid *importjob.InvalidFileError
	if !errors.As(err, &invalid) || len(invalid.Faults) != 1 {
		t.Fatalf("got %v", err)
	}
	if got := replaytest.Text(i.outcomes(1)); !strings.Contains(got, "pending") {
		t.Error(got)
	}
	if _, err := i.run(1, to.importer(t)); err != nil {
		t.Fatal(err)
	}
	if got := replaytest.Text(i.outcomes(1)); strings.Contains(got, "pending") {
		t.Error(got)
	}
}

type refusing struct{ importjob.Importer }

func (refusing) ValidateJob(context.Context, adapter.JobInput) ([]string, error) {
	return []string{"line 3 is wrong"}, nil
}

// doubtful creates jobs and reports that it is unknown whether they exist.
type doubtful struct {
	importjob.Importer
	times int
}

func (d *doubtful) CreateJob(ctx context.Context, input adapter.JobInput) (adapter.ImportJob, error) {
	job, err := d.Importer.CreateJob(ctx, input)
	if d.times--; err == nil && d.times >= 0 {
		return adapter.ImportJob{}, &adapter.APIError{Op: "create import job", Status: 502,
			Reason: mapping.ReasonServerError, Retryable: true}
	}
	return job, err
}

// TestImportJobOfUnknownFate makes SaaSquatch create jobs of unknown fate: events with a key are still imported once.
func TestImportJobOfUnknownFate(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 100, Clean: true, Days: 1})
	to := newImportTenant(t, sandbox.Options{})
	i := newImporting(t, spec)
	defer i.close()
	i.opts.UnkeyedDead = true
	if _, err := i.run(0, &doubtful{Importer: to.importer(t), times: 2}); err != nil {
		t.Fatal(err)
	}
	received := to.received()
	for key := range replaytest.Expect(made).Keys {
		if received[key] != 1 {
			t.Errorf("%s arrived %d times", key, received[key])
		}
	}
	for key, n := range received {
		if n != 1 {
			t.Errorf("%s arrived %d times", key, n)
		}
	}
	if got := replaytest.Text(i.outcomes(1)); !strings.Contains(got, "duplicate conflict_after_failure") ||
		strings.Contains(got, "pending") {
		t.Error(got)
	}
}
