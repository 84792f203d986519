package importjob_test

import (
	"context"
	"testing"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/mapping"
)

// damagedImports reports every tenth held payload as damaged.
type damagedImports struct {
	adapter.ImportStore
	damaged map[string]bool // by messageId
}

func (d *damagedImports) Held(ctx context.Context, run *adapter.Run, after int64, limit int,
	maxBytes int64) ([]adapter.Leased, error) {
	held, err := d.ImportStore.Held(ctx, run, after, limit, maxBytes)
	for i := range held {
		if held[i].ID%10 == 0 {
			held[i].Damaged = true
			d.damaged[held[i].MessageID] = true
		}
	}
	return held, err
}

// TestImportLeavesDamagedPayloads imports an archive while some payloads are damaged.
func TestImportLeavesDamagedPayloads(t *testing.T) {
	t.Parallel()
	_, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 100})
	to := newImportTenant(t, sandbox.Options{})
	i := newImporting(t, spec)
	defer i.close()
	damaged := make(map[string]bool)
	i.wrap = func(imports adapter.ImportStore) adapter.ImportStore { return &damagedImports{imports, damaged} }
	run, err := i.run(0, to.importer(t))
	if err != nil {
		t.Fatal(err)
	}
	dead := int64(0)
	for _, tally := range i.outcomes(run.ID) {
		if tally.Outcome == adapter.Dead && tally.Reason == mapping.ReasonPayloadDamaged {
			dead = tally.Events
		}
		if tally.Outcome == adapter.Pending {
			t.Errorf("%d events are pending", tally.Events)
		}
	}
	received := to.received()
	if dead == 0 || len(received) == 0 {
		t.Errorf("%d dead, %d received", dead, len(received))
	}
	for id := range damaged {
		if received[id] > 0 {
			t.Errorf("%s was sent", id)
		}
	}
}
