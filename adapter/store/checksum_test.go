package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// stored reads and writes payloads beside the store.
type stored struct {
	t  *testing.T
	db *sql.DB
	// queue says that the events are pending.
	queue bool
}

func (s stored) tables() (table, id string) {
	if s.queue {
		return "queue", "id"
	}
	return "payloads", "delivery"
}

func (s stored) payload(id int64) (payload []byte) {
	s.t.Helper()
	table, key := s.tables()
	if err := s.db.QueryRow(`SELECT payload FROM `+table+` WHERE `+key+` = $1`, id).Scan(&payload); err != nil {
		s.t.Fatal(err)
	}
	return payload
}

func (s stored) set(id int64, payload []byte) {
	s.t.Helper()
	table, key := s.tables()
	if _, err := s.db.Exec(`UPDATE `+table+` SET payload = $1 WHERE `+key+` = $2`, payload, id); err != nil {
		s.t.Fatal(err)
	}
}

// damages are what can happen to the payload of delivery 1, beside delivery 2.
var damages = map[string]func(stored){
	"a flipped bit": func(s stored) {
		payload := s.payload(1)
		payload[len(payload)/2] ^= 4
		s.set(1, payload)
	},
	"the end is missing":  func(s stored) { s.set(1, s.payload(1)[:20]) },
	"all of it":           func(s stored) { s.set(1, []byte{}) },
	"the beginning, too":  func(s stored) { s.set(1, s.payload(1)[1:]) },
	"zeros behind it":     func(s stored) { s.set(1, append(s.payload(1), 0, 0)) },
	"a page of zeros":     func(s stored) { s.set(1, make([]byte, len(s.payload(1)))) },
	"another event's":     func(s stored) { s.set(1, s.payload(2)) },
	"exchanged for other": func(s stored) { one, two := s.payload(1), s.payload(2); s.set(1, two); s.set(2, one) },
}

// TestDamagedPayload damages payloads of pending events and of dead letters. Whatever
// reads them says so, and a redrive takes the checksum along.
func TestDamagedPayload(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		long := event("message-1")
		long.Payload = append(bytes.Repeat([]byte(" "), 9000), long.Payload...) // on several pages
		accept(t, q, long, event("message-2"))
		db, ctx := raw(t, opts), context.Background()
		originals := [][]byte{stored{t, db, true}.payload(1), stored{t, db, true}.payload(2)}
		check := func(name string, queue bool, want bool) {
			t.Helper()
			payloads, err := s.Payloads(ctx, []int64{1, 2})
			if err != nil || payloads[1].Damaged != want || payloads[2].Damaged != (want &&
				name == "exchanged for other") {
				t.Errorf("%s: damaged %v and %v, %v", name, payloads[1].Damaged, payloads[2].Damaged, err)
			}
			shown, err := s.Get(ctx, 1)
			if err != nil || shown.PayloadDamaged != want {
				t.Errorf("%s: shown as damaged: %v, %v", name, shown.PayloadDamaged, err)
			}
			if !queue {
				return
			}
			leased := lease(t, q, 2)
			for i := range leased {
				if leased[i].ID == 1 && leased[i].Damaged != want {
					t.Errorf("%s: leased as damaged: %v", name, leased[i].Damaged)
				}
			}
			if err := q.Release(ctx, []*adapter.Leased{&leased[0], &leased[1]}); err != nil {
				t.Fatal(err)
			}
		}
		for _, queue := range []bool{true, false} {
			beside := stored{t, db, queue}
			check("nothing", queue, false)
			for name, damage := range damages {
				damage(beside)
				check(name, queue, true)
				beside.set(1, originals[0])
				beside.set(2, originals[1])
			}
			if queue {
				leased := lease(t, q, 2)
				record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
					At: leased[0].ReceivedAt})
			}
		}
		damages["a flipped bit"](stored{t, db, false})
		if got := redrive(t, s, 1, 2); got != (adapter.Redriven{Pending: 2}) {
			t.Errorf("redriven %+v", got)
		}
		for _, l := range lease(t, q, 2) {
			if l.Damaged != (l.ID == 1) {
				t.Errorf("after a redrive, delivery %d is damaged: %v", l.ID, l.Damaged)
			}
		}
	})
}

// TestDamagedPayloadOfARun looks at events that wait for an import job, and at the
// failures of a run, which are replayed from a file.
func TestDamagedPayloadOfARun(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		run, ctx := beginRun(t, s), context.Background()
		acceptBatch(t, s, run, &adapter.Batch{Held: true, Arrivals: []adapter.Arrival{event("message-1"),
			event("message-2"), bad("{3"), bad("{4"), bad("{5")}})
		db := raw(t, opts)
		damages["the end is missing"](stored{t, db, true})
		held, err := s.Held(ctx, run, 0, 10, 1<<20)
		if err != nil || len(held) != 2 || !held[0].Damaged || held[1].Damaged {
			t.Errorf("held %+v, %v", held, err)
		}
		stored{t, db, false}.set(3, []byte("{9"))
		execute(t, db, `DELETE FROM payloads WHERE delivery = 4`)
		var payloads []string
		missing, err := s.Failures(ctx, run.ID, func(payload []byte) error {
			payloads = append(payloads, string(payload))
			return nil
		})
		if err != nil || missing != 2 || len(payloads) != 1 || payloads[0] != "{5" {
			t.Errorf("failures %q, %d missing, %v", payloads, missing, err)
		}
	})
}
