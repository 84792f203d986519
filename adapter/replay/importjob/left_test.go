package importjob_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/importjob"
	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/mapping"
)

// checkOnce checks that each key arrived once, and that no event of the run is pending.
func checkOnce(t *testing.T, to *importTenant, i *importing, run int64) {
	t.Helper()
	for key, n := range to.received() {
		if n != 1 {
			t.Errorf("%s arrived %d times", key, n)
		}
	}
	if got := replaytest.Text(i.outcomes(run)); strings.Contains(got, "pending") {
		t.Errorf("left: %s", got)
	}
}

// TestImportRecordsRefusedForNow makes SaaSquatch refuse some records with every temporary status. They come again in
// the next jobs and never one by one. Events that three jobs have refused are dead for that reason.
func TestImportRecordsRefusedForNow(t *testing.T) {
	t.Parallel()
	for status, reason := range map[int]mapping.Reason{
		429: mapping.ReasonRateLimited, 408: mapping.ReasonTimeout, 425: mapping.ReasonTimeout,
		500: mapping.ReasonServerError, 503: mapping.ReasonServerError,
		401: mapping.ReasonUnauthorized, 403: mapping.ReasonForbidden,
	} {
		for _, rate := range []float64{0.3, 1} {
			if rate == 1 && status != 429 && status != 503 {
				continue
			}
			t.Run(fmt.Sprintf("%d, %v%%", status, 100*rate), func(t *testing.T) {
				made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 200, Clean: true, Days: 1})
				to := newImportTenant(t, sandbox.Options{
					Jobs: sandbox.JobFaults{RefuseRecords: []sandbox.FailRule{{Rate: rate, Status: status}}},
					// With another source, chance might refuse no event three times.
					Rand: rand.New(rand.NewPCG(3, uint64(status))),
				})
				i := newImporting(t, spec)
				defer i.close()
				i.opts.MaxLines = 60
				run, err := i.run(0, to.importer(t))
				if err != nil {
					t.Fatal(err)
				}
				checkOnce(t, to, i, run.ID)
				checkSettledRight(t, i.store, run.ID, to.received())
				all, dead, stats := int64(replaytest.Expect(made).Outcomes["delivered"]), int64(0), to.Stats()
				for _, tally := range i.outcomes(run.ID) {
					if tally.Outcome == adapter.Dead {
						dead += tally.Events
						if tally.Reason != reason {
							t.Errorf("dead for %s", tally.Reason)
						}
					}
				}
				// A copy of an event that is dead by then is accepted once more.
				if arrived := int64(stats.EventsAccepted); arrived+dead < all || arrived+dead > all+all/50 {
					t.Errorf("%d of %d arrived, %d are dead", stats.EventsAccepted, all, dead)
				}
				switch {
				case rate == 1 && (dead < all || stats.RecordErrors != 3*uint64(dead)):
					t.Errorf("%d of %d are dead, %d records were refused", dead, all, stats.RecordErrors)
				case rate < 1 && (dead == 0 || dead > all/10):
					t.Errorf("%d of %d are dead", dead, all)
				}
				deaths, err := i.store.Find(context.Background(),
					adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}}, 10)
				if err != nil || len(deaths) == 0 || !strings.Contains(deaths[0].Detail, "refused in 3 jobs") ||
					deaths[0].Status != status {
					t.Errorf("%v: %+v", err, deaths)
				}
			})
		}
	}
}

// doubting reports processed records of the first job as refused.
type doubting struct {
	importjob.Importer
	mu      sync.Mutex
	records []int64
	jobs    int
}

func (d *doubting) CreateJob(ctx context.Context, input adapter.JobInput) (adapter.ImportJob, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.jobs++
	return d.Importer.CreateJob(ctx, input)
}

func (d *doubting) Job(ctx context.Context, id string) (adapter.ImportJob, error) {
	job, err := d.Importer.Job(ctx, id)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.jobs == 1 {
		job.Errors += int64(len(d.records))
	}
	return job, err
}

func (d *doubting) DownloadErrors(ctx context.Context, job adapter.ImportJob) iter.Seq2[adapter.RecordError, error] {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.jobs > 1 {
		return d.Importer.DownloadErrors(ctx, job)
	}
	return func(yield func(adapter.RecordError, error) bool) {
		for _, record := range d.records {
			if !yield(adapter.RecordError{Record: record, StatusCode: 503, RSCode: "RS014"}, nil) {
				return
			}
		}
	}
}

// TestImportLeftRecordsJoinTheNextFile makes SaaSquatch refuse two records of the first of several files. They join
// the second file, which adds no job, and its 409 shows that the first job processed them.
func TestImportLeftRecordsJoinTheNextFile(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 100, Clean: true, Days: 1})
	to := newImportTenant(t, sandbox.Options{})
	i := newImporting(t, spec)
	defer i.close()
	i.opts.MaxLines, i.opts.UnkeyedDead = 20, true
	importer := &doubting{Importer: to.importer(t), records: []int64{1, 20}}
	run, err := i.run(0, importer)
	if err != nil {
		t.Fatal(err)
	}
	checkOnce(t, to, i, run.ID)
	checkSettledRight(t, i.store, run.ID, to.received())
	all := replaytest.Expect(made).Outcomes["delivered"]
	// An unkeyed one of the two is dead, because it is not sent again.
	again := 0
	for _, tally := range i.outcomes(run.ID) {
		if tally.Reason == mapping.ReasonConflictAfterFailure || tally.Reason == mapping.ReasonUnkeyedAmbiguous {
			again += int(tally.Events)
		}
	}
	if again != 2 {
		t.Errorf("got %s", replaytest.Text(i.outcomes(run.ID)))
	}
	if least := (all + 19) / 20; importer.jobs < least || importer.jobs > least+1 {
		t.Errorf("%d jobs for %d events", importer.jobs, all)
	}
}

// TestImportLeftRecordsPastTheHorizon resumes with a leftover after SaaSquatch has forgotten the keys: only events
// that no job can have processed are sent.
func TestImportLeftRecordsPastTheHorizon(t *testing.T) {
	t.Parallel()
	for _, status := range []int{503, 429} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 60, Clean: true, Days: 1})
			refuse := []sandbox.FailRule{{Rate: 0.5, Status: status, After: status == 503}}
			to := newImportTenant(t, sandbox.Options{Jobs: sandbox.JobFaults{RefuseRecords: refuse}})
			i := newImporting(t, spec)
			defer i.close()
			importer := &crashing{Importer: to.importer(t)}
			importer.at, importer.after = 4, false // the upload of the second job
			if _, err := i.run(0, importer); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			if err := to.Advance(25 * time.Hour); err != nil {
				t.Fatal(err)
			}
			i.opts.Now = func() time.Time { return replaytest.Now.Add(25 * time.Hour) }
			i.restart()
			if _, err := i.run(1, to.importer(t)); err != nil {
				t.Fatal(err)
			}
			for key, n := range to.received() {
				if n != 1 {
					t.Errorf("%s arrived %d times", key, n)
				}
			}
			outcomes := replaytest.Text(i.outcomes(1))
			if strings.Contains(outcomes, "pending") || strings.Contains(outcomes, "horizon_over") != (status == 503) {
				t.Errorf("got %s of %d", outcomes, replaytest.Expect(made).Outcomes["delivered"])
			}
		})
	}
}

// crashingStore fails at one write of a job or an outcome, before or after it, and at all later ones, as a dead
// process.
type crashingStore struct {
	adapter.ImportStore
	mu    sync.Mutex
	at    int
	after bool
	n     int
}

func (c *crashingStore) crash(do func() error) error {
	c.mu.Lock()
	c.n++
	n := c.n
	c.mu.Unlock()
	if n > c.at || n == c.at && !c.after {
		return errCrash
	}
	err := do()
	if n == c.at && err == nil {
		return errCrash
	}
	return err
}

func (c *crashingStore) PutJob(ctx context.Context, run *adapter.Run, job adapter.RunJob) error {
	return c.crash(func() error { return c.ImportStore.PutJob(ctx, run, job) })
}

func (c *crashingStore) Settle(ctx context.Context, run *adapter.Run, held *adapter.Leased, step adapter.Step) error {
	return c.crash(func() error { return c.ImportStore.Settle(ctx, run, held, step) })
}

// TestImportLeftRecordsResumeAnywhere ends an import with temporarily refused records at every write, and resumes it
// in another process. Nothing is lost, nothing comes twice, and no event is in more than three jobs beside those that
// the crash has cost.
func TestImportLeftRecordsResumeAnywhere(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 24, Clean: true, Days: 1})
	all := int64(replaytest.Expect(made).Outcomes["delivered"])
	for _, after := range []bool{false, true} {
		crashed := true
		first, step := replaytest.CrashPoints()
		for at := first; crashed; at += step {
			// A record that the third job processes but refuses is dead, although it arrived.
			faults := sandbox.JobFaults{RefuseRecords: []sandbox.FailRule{{Rate: 0.3, Status: 503},
				{Rate: 0.2, Status: 429}, {Rate: 0.1, Status: 500, After: true}}}
			to := newImportTenant(t, sandbox.Options{Jobs: faults})
			i := newImporting(t, spec)
			i.opts.MaxLines, i.opts.UnkeyedDead = 10, true
			i.wrap = func(imports adapter.ImportStore) adapter.ImportStore {
				return &crashingStore{ImportStore: imports, at: at, after: after}
			}
			_, err := i.run(0, to.importer(t))
			if err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			if crashed = err != nil; crashed {
				i.restart()
				i.wrap = nil
				if _, err := i.run(1, to.importer(t)); err != nil {
					t.Fatal(err)
				}
			}
			checkOnce(t, to, i, 1)
			sum := int64(0)
			for _, tally := range i.outcomes(1) {
				sum += tally.Events
			}
			if sum < all {
				t.Errorf("write %d: %d of %d have an outcome: %s", at, sum, all, replaytest.Text(i.outcomes(1)))
			}
			i.close()
			if !crashed && at < 20 {
				t.Fatalf("only %d writes", at)
			}
		}
	}
}
