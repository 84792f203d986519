package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// heldLog is a DeliveryLog in memory that knows the filters by outcome,
// connection, Former and Before. Its connections have the tenant "tenant". It notes how much it is
// asked for at a time.
type heldLog struct {
	adapter.DeliveryStore
	held     []adapter.Delivery // oldest first
	payloads map[int64][]byte

	damaged              []int64
	redriven, purged     []int64
	redeliveries         map[int64]adapter.Redelivery
	mostRows, mostWanted int
	failAfter            int              // changes that succeed, 0 for all
	busy                 func() bool      // whether a read finds no place, nil for never
	runs                 map[int64]string // their specs
}

func (l *heldLog) Run(_ context.Context, id int64) (*adapter.Run, []adapter.ObjectProgress, error) {
	spec, ok := l.runs[id]
	if !ok {
		return nil, nil, adapter.ErrNoRun
	}
	return &adapter.Run{ID: id, Spec: json.RawMessage(spec)}, nil, nil
}

func (l *heldLog) add(d adapter.Delivery, payload string) {
	d.ID = int64(len(l.held) + 1)
	if d.Connection == "" {
		d.Connection = "default"
	}
	if d.Tenant == "" {
		d.Tenant = "tenant"
	}
	l.held = append(l.held, d)
	if payload != "" {
		if l.payloads == nil {
			l.payloads = make(map[int64][]byte)
		}
		l.payloads[d.ID] = []byte(payload)
	}
}

func (l *heldLog) Find(_ context.Context, f adapter.Filter, limit int) ([]adapter.Delivery, error) {
	if l.busy != nil && l.busy() {
		return nil, &adapter.BusyError{RetryAfter: time.Second}
	}
	l.mostRows = max(l.mostRows, limit)
	var found []adapter.Delivery
	for _, d := range slices.Backward(l.held) {
		picked := (len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, d.Outcome)) && (f.Connection == "" ||
			f.Connection == d.Connection) &&
			(f.Before == 0 || d.ID < f.Before) && (!f.Former || d.Tenant != "tenant" || d.Connection == "gone")
		if picked && len(found) < limit {
			found = append(found, d)
		}
	}
	return found, nil
}

func (l *heldLog) Payloads(_ context.Context, ids []int64) (map[int64]adapter.StoredPayload, error) {
	l.mostWanted = max(l.mostWanted, len(ids))
	payloads := make(map[int64]adapter.StoredPayload)
	for _, id := range ids {
		if payload, kept := l.payloads[id]; kept {
			payloads[id] = adapter.StoredPayload{Bytes: payload, Damaged: slices.Contains(l.damaged, id)}
		}
	}
	return payloads, nil
}

var errDisk = errors.New("the disk is gone")

func (l *heldLog) fails() bool {
	l.failAfter--
	return l.failAfter == 0
}

// Redrive finds every delivery of the user "known" to be a duplicate, and one of the
// user "busy" to be in the hands of another process.
func (l *heldLog) Redrive(_ context.Context, list []adapter.Redelivery) (done adapter.Redriven, err error) {
	if l.fails() {
		return done, errDisk
	}
	if l.redeliveries == nil {
		l.redeliveries = make(map[int64]adapter.Redelivery)
	}
	for _, r := range list {
		l.redriven = append(l.redriven, r.ID)
		l.redeliveries[r.ID] = r
		switch r.UserID {
		case "known":
			done.Duplicate++
		case "busy":
		default:
			done.Pending++
		}
	}
	return done, nil
}

func (l *heldLog) Purge(_ context.Context, ids []int64, _ ...adapter.Outcome) (int, error) {
	if l.fails() {
		return 0, errDisk
	}
	l.purged = append(l.purged, ids...)
	return len(ids), nil
}

func trackOf(user, messageID string) string {
	return fmt.Sprintf(`{"type":"track","event":"x","userId":%q,"messageId":%q}`, user, messageID)
}

func operationsOn(t *testing.T, log adapter.DeliveryStore) *delivery.Operations {
	t.Helper()
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	return delivery.NewOperations(log, map[string]delivery.Mapper{"default": mapper, "faulty": faultyMapper{}},
		map[string]string{"default": "tenant", "faulty": "tenant"})
}

type faultyMapper struct{}

func (faultyMapper) MapWith([]byte, time.Time, mapping.Options) mapping.Result { panic("a fault") }

var received = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// mixedLog has a delivery of every kind that a redrive tells apart.
func mixedLog() *heldLog {
	l := &heldLog{}
	l.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received}, trackOf("u", "message-1"))
	l.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received}, trackOf("known", "message-2"))
	l.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received}, "")
	l.add(adapter.Delivery{Outcome: adapter.Rejected, ReceivedAt: received}, "no JSON")
	l.add(adapter.Delivery{Outcome: adapter.Rejected, ReceivedAt: received}, `{"type":"page"}`)
	l.add(adapter.Delivery{Outcome: adapter.Rejected, ReceivedAt: received}, trackOf("u", "short"))
	l.add(adapter.Delivery{Outcome: adapter.Pending, ReceivedAt: received}, trackOf("u", "message-7"))
	l.add(adapter.Delivery{Outcome: adapter.Delivered, ReceivedAt: received}, trackOf("u", "message-8"))
	l.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received, Connection: "gone"}, trackOf("u", "message-9"))
	l.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received, Connection: "faulty"},
		trackOf("u", "message-10"))
	return l
}

// TestRedriveTellsWhatFiresPrograms counts the events of import jobs that would be sent,
// dry or not.
func TestRedriveTellsWhatFiresPrograms(t *testing.T) {
	for _, dry := range []bool{true, false} {
		l := &heldLog{runs: map[int64]string{1: `{"via":"import"}`, 2: `{"via":"api"}`, 4: "no JSON"}}
		for i := range 20 { // of four runs that are known, one that is not, and live traffic
			l.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received, Run: int64(i % 5)},
				trackOf("u", fmt.Sprintf("message-%02d", i)))
		}
		l.add(adapter.Delivery{Outcome: adapter.Rejected, ReceivedAt: received, Run: 1}, `{"type":"page"}`)
		l.add(adapter.Delivery{Outcome: adapter.Pending, ReceivedAt: received, Run: 1}, trackOf("u", "message-held"))
		l.add(adapter.Delivery{Outcome: adapter.Pending, ReceivedAt: received, Run: 1, DueAt: &received},
			trackOf("u", "message-due"))
		l.add(adapter.Delivery{Outcome: adapter.Rejected, ReceivedAt: received, Run: 1}, trackOf("u", "message-20"))
		done, err := operationsOn(t, l).Redrive(t.Context(), adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead,
			adapter.Rejected, adapter.Pending}}, 0, "", dry)
		if err != nil || done.Sent != 22 || done.FiresPrograms != 6 || done.Held != 1 {
			t.Errorf("dry %t: %+v %v", dry, done, err)
		}
	}
}

func TestRedriveTellsApart(t *testing.T) {
	for name, test := range map[string]struct {
		filter   adapter.Filter
		limit    int
		want     adapter.Redrive
		redriven []int64
	}{
		"dead and rejected by default": {
			want: adapter.Redrive{
				Before: 1, Matched: 8, Sent: 2, Duplicate: 1, NoPayload: 1, NoConnection: 1,
				Unsendable: map[mapping.Reason]int{"invalid_json": 1, "unsupported_type": 1,
					mapping.ReasonInternalError: 1},
			},
			redriven: []int64{6, 2, 1},
		},
		"the newest up to the limit": {
			filter: adapter.Filter{Connection: "default"},
			limit:  3,
			want: adapter.Redrive{Before: 4, Matched: 3, Sent: 1,
				Unsendable: map[mapping.Reason]int{"invalid_json": 1, "unsupported_type": 1}},
			redriven: []int64{6},
		},
		"pending ones if asked": {
			filter:   adapter.Filter{Outcomes: []adapter.Outcome{adapter.Pending}},
			want:     adapter.Redrive{Before: 7, Matched: 1, Sent: 1, Unsendable: map[mapping.Reason]int{}},
			redriven: []int64{7},
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := mixedLog()
			o := operationsOn(t, log)
			dry, err := o.Redrive(t.Context(), test.filter, test.limit, "", true)
			if err != nil || log.redriven != nil {
				t.Errorf("dry: %v redriven, %v", log.redriven, err)
			}
			got, err := o.Redrive(t.Context(), test.filter, test.limit, "", false)
			if err != nil || !reflect.DeepEqual(*got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
			if !slices.Equal(log.redriven, test.redriven) {
				t.Errorf("redriven %v, want %v", log.redriven, test.redriven)
			}
			planned := test.want // a dry run cannot know the duplicates
			planned.Sent, planned.Duplicate = planned.Sent+planned.Duplicate, 0
			if !reflect.DeepEqual(*dry, planned) {
				t.Errorf("dry: got %+v, want %+v", dry, planned)
			}
		})
	}
}

// formerLog has deliveries that were accepted for other tenants than their
// connection has, among those of its own.
func formerLog() *heldLog {
	due := received
	l := mixedLog()
	l.held = slices.DeleteFunc(l.held, func(d adapter.Delivery) bool { return d.ID > 8 })
	l.add(adapter.Delivery{Tenant: "host/test_a", Outcome: adapter.Pending, DueAt: &due, ReceivedAt: received},
		trackOf("u", "message-9"))
	// waits for an import job
	l.add(adapter.Delivery{Tenant: "host/test_a", Outcome: adapter.Pending, ReceivedAt: received},
		trackOf("u", "message-10"))
	l.add(adapter.Delivery{Tenant: "host/test_a", Outcome: adapter.Dead, ReceivedAt: received},
		trackOf("known", "message-11"))
	l.add(adapter.Delivery{Tenant: "elsewhere/tenant", Outcome: adapter.Dead, ReceivedAt: received},
		trackOf("u", "message-12"))
	l.add(adapter.Delivery{Tenant: "host/test_a", Outcome: adapter.Rejected, ReceivedAt: received}, "no JSON")
	l.add(adapter.Delivery{Tenant: "host/test_a", Outcome: adapter.Delivered, ReceivedAt: received},
		trackOf("u", "message-14"))
	l.add(adapter.Delivery{Tenant: "host/test_a", Outcome: adapter.Pending, DueAt: &due, ReceivedAt: received},
		trackOf("busy", "message-15"))
	l.add(adapter.Delivery{Tenant: "host/test_a", Outcome: adapter.Dead, Connection: "gone", ReceivedAt: received},
		trackOf("u", "message-16"))
	return l
}

func TestRedriveToTenant(t *testing.T) {
	move := func(from string, events int) adapter.TenantMove {
		return adapter.TenantMove{Connection: "default", From: from, To: "tenant", Events: events}
	}
	for name, test := range map[string]struct {
		filter   adapter.Filter
		limit    int
		toTenant string
		want     adapter.Redrive
		redriven []int64
		moved    []int64
	}{
		"events of other tenants are left": {
			filter: adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead, adapter.Pending}},
			want: adapter.Redrive{
				Before: 1, Matched: 10, Sent: 2, Duplicate: 1, NoPayload: 1, NoConnection: 1,
				Unsendable:  map[mapping.Reason]int{},
				OtherTenant: adapter.TenantMoves{move("host/test_a", 4), move("elsewhere/tenant", 1)},
			},
			redriven: []int64{7, 2, 1},
		},
		"only those are moved, pending ones as well": {
			toTenant: "tenant",
			want: adapter.Redrive{
				Before: 9, Matched: 7, Sent: 2, Duplicate: 1, NoConnection: 1, InHand: 1, Held: 1,
				Unsendable: map[mapping.Reason]int{"invalid_json": 1},
				Moved:      adapter.TenantMoves{move("host/test_a", 3), move("elsewhere/tenant", 1)},
			},
			redriven: []int64{15, 12, 11, 9},
			moved:    []int64{15, 12, 11, 9},
		},
		"the limit counts those alone": {
			filter:   adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}, Connection: "default"},
			limit:    1,
			toTenant: "tenant",
			want: adapter.Redrive{Before: 12, Matched: 1, Sent: 1, Unsendable: map[mapping.Reason]int{},
				Moved: adapter.TenantMoves{move("elsewhere/tenant", 1)}},
			redriven: []int64{12},
			moved:    []int64{12},
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := formerLog()
			o := operationsOn(t, log)
			dry, err := o.Redrive(t.Context(), test.filter, test.limit, test.toTenant, true)
			if err != nil || log.redriven != nil {
				t.Errorf("dry: %v redriven, %v", log.redriven, err)
			}
			got, err := o.Redrive(t.Context(), test.filter, test.limit, test.toTenant, false)
			if err != nil || !reflect.DeepEqual(*got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
			planned := test.want
			planned.Sent, planned.Duplicate, planned.InHand = planned.Sent+planned.Duplicate+planned.InHand, 0, 0
			if !reflect.DeepEqual(*dry, planned) {
				t.Errorf("dry: got %+v, want %+v", dry, planned)
			}
			if !slices.Equal(log.redriven, test.redriven) {
				t.Errorf("redriven %v, want %v", log.redriven, test.redriven)
			}
			for _, id := range log.redriven {
				to := log.redeliveries[id].Tenant
				if wasMoved := slices.Contains(test.moved, id); wasMoved != (to == "tenant") || !wasMoved && to != "" {
					t.Errorf("delivery %d went to %q", id, to)
				}
			}
		})
	}
}

// TestRedriveNeedsTheTenants refuses what would send events to another tenant than
// was meant.
func TestRedriveNeedsTheTenants(t *testing.T) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	mappers := map[string]*mapping.Mapper{"one": mapper, "two": mapper}
	for name, test := range map[string]struct {
		tenants              map[string]string
		connection, toTenant string
		want                 string // empty if it is carried out
	}{
		"all known": {map[string]string{"one": "h/a", "two": "h/b"}, "", "", ""},
		"one unknown": {map[string]string{"one": "h/a", "two": ""}, "", "",
			"the tenant of connection two is not configured"},
		"an unknown one is left out": {map[string]string{"one": "h/a", "two": ""}, "one", "", ""},
		"to one of them":             {map[string]string{"one": "h/a", "two": "h/b"}, "", "b", ""},
		"to none of them": {map[string]string{"one": "h/a", "two": "h/b"}, "", "c",
			`no connection has the tenant "c" to which the events are to go: ` +
				`name the alias of one that a connection has (one has a, two has b)`},
		"by name": {map[string]string{"one": "h/a", "two": "h/b"}, "", "h/a",
			"no connection has"},
		"to that of another connection": {map[string]string{"one": "h/a", "two": "h/b"}, "one", "b", "(one has a)"},
		"of a connection that is not in": {map[string]string{"one": "h/a", "two": "h/b"}, "three", "b",
			"(none is configured)"},
	} {
		t.Run(name, func(t *testing.T) {
			o := delivery.NewOperations(&heldLog{}, mappers, test.tenants)
			_, err := o.Redrive(t.Context(), adapter.Filter{Connection: test.connection}, 0, test.toTenant, false)
			var refused *adapter.RefusedError
			if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &refused) ||
				!strings.Contains(refused.Problem, test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTenantNames(t *testing.T) {
	name := adapter.TenantName("https://app.referralsaasquatch.com", "test_ops")
	if name != "https://app.referralsaasquatch.com/test_ops" || adapter.TenantAlias(name) != "test_ops" {
		t.Errorf("got %s and %s", name, adapter.TenantAlias(name))
	}
	for _, test := range []struct{ from, to, want string }{
		{"h/test_a", "h/b", "fire programs"}, {"h/b", "h/test_a", "never gets them"}, {"h/a", "h/b", ""},
		{"h/test_a", "g/test_a", ""},
	} {
		move := adapter.TenantMove{From: test.from, To: test.to}
		if got := move.Warning(); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s to %s: %q", test.from, test.to, got)
		}
	}
}

// TestRedriveKeepsTheIdentity: what today's rules make of an event tells it from
// others as its acceptance did, or it would be delivered a second time.
func TestRedriveKeepsTheIdentity(t *testing.T) {
	log := mixedLog()
	if _, err := operationsOn(t, log).Redrive(t.Context(), adapter.Filter{}, 0, "", false); err != nil {
		t.Fatal(err)
	}
	queue := deliverytest.NewQueue(t)
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	durable := delivery.NewDurable(mapper, queue, delivery.DurableOptions{Now: func() time.Time { return received }})
	ids := slices.Sorted(maps.Keys(log.redeliveries))
	for _, id := range ids {
		if _, err := durable.Accept(t.Context(), [][]byte{log.payloads[id]}); err != nil {
			t.Fatal(err)
		}
		a := queue.Arrivals()[0]
		want := adapter.Redelivery{ID: id, UserID: a.UserID, AccountID: a.AccountID, Event: a.Event,
			EventKey: a.EventKey, Keyed: a.Keyed, Identity: a.Identity, Fingerprint: a.Fingerprint,
			Bytes: len(log.payloads[id])}
		if got := log.redeliveries[id]; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if keyed, not := log.redeliveries[1], log.redeliveries[6]; !keyed.Keyed || keyed.Fingerprint != 0 || not.Keyed ||
		not.Identity == 0 || not.Fingerprint == 0 {
		t.Errorf("got %+v and %+v", keyed, not)
	}
}

func TestRedriveRefuses(t *testing.T) {
	for outcome, want := range map[adapter.Outcome]string{
		adapter.Delivered: "twice", adapter.Duplicate: "twice", adapter.Skipped: "not kept",
	} {
		for _, dry := range []bool{true, false} {
			log := mixedLog()
			_, err := operationsOn(t, log).Redrive(t.Context(),
				adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead, outcome}}, 0, "", dry)
			var refused *adapter.RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || log.redriven != nil {
				t.Errorf("%s, dry %v: %v, redriven %v", outcome, dry, err, log.redriven)
			}
		}
	}
}

// TestOperationsAreBounded: however many deliveries there are, few are in hand, and
// fewer payloads.
func TestOperationsAreBounded(t *testing.T) {
	const many, limit = 5432, 1234
	ctx := context.Background()
	for name, operate := range map[string]func(o *delivery.Operations, log *heldLog, limit int) ([]int64, error){
		"redrive": func(o *delivery.Operations, log *heldLog, limit int) ([]int64, error) {
			_, err := o.Redrive(ctx, adapter.Filter{}, limit, "", false)
			return log.redriven, err
		},
		"purge": func(o *delivery.Operations, log *heldLog, limit int) ([]int64, error) {
			_, err := o.Purge(ctx, adapter.Filter{Connection: "default"}, limit, false)
			return log.purged, err
		},
		"export": func(o *delivery.Operations, _ *heldLog, limit int) (ids []int64, err error) {
			err = o.Export(ctx, adapter.Filter{}, limit, func(d *adapter.Delivery) error {
				ids = append(ids, d.ID)
				return nil
			})
			return ids, err
		},
	} {
		for _, limit := range []int{0, limit} {
			log := &heldLog{}
			for range many {
				log.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received}, trackOf("u", "message-1"))
			}
			want := make([]int64, many)
			for i := range want {
				want[i] = int64(many - i)
			}
			if limit > 0 {
				want = want[:limit]
			}
			got, err := operate(operationsOn(t, log), log, limit)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s of %d: %d deliveries, not the newest %d once each (%v)", name, limit, len(got), len(want),
					err)
			}
			if log.mostRows > 500 || log.mostWanted > 20 {
				t.Errorf("%s: up to %d deliveries and %d payloads in hand", name, log.mostRows, log.mostWanted)
			}
		}
	}
}

func TestPurge(t *testing.T) {
	log := mixedLog()
	o := operationsOn(t, log)
	var refused *adapter.RefusedError
	if _, err := o.Purge(t.Context(), adapter.Filter{}, 0, false); !errors.As(err, &refused) || log.purged != nil {
		t.Errorf("without a filter: %v, purged %v", err, log.purged)
	}
	filter := adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected, adapter.Pending}}
	want := map[adapter.Outcome]int{adapter.Rejected: 3, adapter.Pending: 1}
	got, err := o.Purge(t.Context(), filter, 0, true)
	if err != nil || !maps.Equal(got.Purged, want) || log.purged != nil {
		t.Errorf("dry: %+v, %v, purged %v", got, err, log.purged)
	}
	got, err = o.Purge(t.Context(), filter, 0, false)
	if err != nil || !maps.Equal(got.Purged, want) || !slices.Equal(log.purged, []int64{6, 5, 4, 7}) {
		t.Errorf("got %+v, %v, purged %v", got, err, log.purged)
	}
}

// TestFailuresSayWhatWasDone: a part of the work is not undone.
func TestFailuresSayWhatWasDone(t *testing.T) {
	for name, operate := range map[string]func(*delivery.Operations) error{
		"redrive": func(o *delivery.Operations) error {
			done, err := o.Redrive(t.Context(), adapter.Filter{}, 0, "", false)
			if done.Sent != 500 {
				t.Errorf("got %+v", done)
			}
			return err
		},
		"500 deliveries were purged": func(o *delivery.Operations) error {
			done, err := o.Purge(t.Context(), adapter.Filter{Connection: "default"}, 0, false)
			if done.Purged[adapter.Dead] != 500 {
				t.Errorf("got %+v", done)
			}
			return err
		},
	} {
		log := &heldLog{failAfter: 2}
		for range 1500 {
			log.add(adapter.Delivery{Outcome: adapter.Dead, ReceivedAt: received}, trackOf("u", "message-1"))
		}
		err := operate(operationsOn(t, log))
		if !errors.Is(err, errDisk) || name != "redrive" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRedriveInPages redrives a page at a time, each below the one before. Together they do what
// one redrive of all does.
func TestRedriveInPages(t *testing.T) {
	for _, toTenant := range []string{"", "tenant"} {
		moved := func() *heldLog {
			l := mixedLog()
			for i := range l.held {
				if toTenant != "" && i%2 == 0 {
					l.held[i].Tenant = "former"
				}
			}
			return l
		}
		want, err := operationsOn(t, moved()).Redrive(t.Context(), adapter.Filter{}, 0, toTenant, false)
		if err != nil || want.Before != 1 {
			t.Fatalf("got %+v, %v", want, err)
		}
		o, got := operationsOn(t, moved()), &adapter.Redrive{Unsendable: map[mapping.Reason]int{}}
		for filter, pages := (adapter.Filter{}), 0; ; filter.Before = got.Before {
			page, err := o.Redrive(t.Context(), filter, 2, toTenant, false)
			if err != nil || pages == 10 {
				t.Fatalf("%d pages: %v", pages, err)
			}
			got.Add(page)
			if pages++; page.Matched < 2 {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("to %q: got %+v\nwant %+v", toTenant, got, want)
		}
	}
}

// TestDamagedPayloadsStay redrives, shows and exports deliveries with a damaged payload.
func TestDamagedPayloadsStay(t *testing.T) {
	log := &heldLog{damaged: []int64{1, 3}}
	for _, outcome := range []adapter.Outcome{adapter.Dead, adapter.Dead, adapter.Pending} {
		log.add(adapter.Delivery{Outcome: outcome, ReceivedAt: received}, trackOf("u", "message-1"))
	}
	operations := operationsOn(t, log)
	for _, dry := range []bool{true, false} {
		filter := adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead, adapter.Pending}}
		done, err := operations.Redrive(t.Context(), filter, 0, "", dry)
		if err != nil || done.Matched != 3 || done.Sent != 1 || done.Damaged != 2 {
			t.Errorf("dry %v: %+v, %v", dry, done, err)
		}
	}
	if !slices.Equal(log.redriven, []int64{2}) {
		t.Errorf("redriven %v", log.redriven)
	}
	var got []string
	err := operations.Export(t.Context(), adapter.Filter{}, 2, func(d *adapter.Delivery) error {
		got = append(got, fmt.Sprintf("%d %s|%s|%v", d.ID, d.Payload, d.PayloadText, d.PayloadDamaged))
		return nil
	})
	event := trackOf("u", "message-1")
	if want := []string{"3 |" + event + "|true", "2 " + event + "||false"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

func TestExport(t *testing.T) {
	log := mixedLog()
	var got []string
	err := operationsOn(t, log).Export(t.Context(), adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected,
		adapter.Dead}, Connection: "default"}, 4, func(d *adapter.Delivery) error {
		got = append(got, fmt.Sprintf("%d %s|%s", d.ID, d.Payload, d.PayloadText))
		return nil
	})
	want := []string{"6 " + trackOf("u", "short") + "|", `5 {"type":"page"}|`, "4 |no JSON", "3 |"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	calls, stop := 0, errors.New("stop")
	err = operationsOn(t, log).Export(t.Context(), adapter.Filter{}, 0,
		func(*adapter.Delivery) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// TestPagesWaitTheirTurn exports while the store is often busy with other long reads. Only
// an export that has not begun is refused.
func TestPagesWaitTheirTurn(t *testing.T) {
	log := &heldLog{}
	const held = 1200 // several pages
	for range held {
		log.add(adapter.Delivery{Outcome: adapter.Dead}, "{}")
	}
	asked := 0
	log.busy = func() bool { asked++; return asked%3 != 1 }
	o := operationsOn(t, log)
	exported := 0
	export := func() error {
		return o.Export(context.Background(), adapter.Filter{}, 0,
			func(*adapter.Delivery) error { exported++; return nil })
	}
	if err := export(); err != nil || exported != held {
		t.Errorf("exported %d, %v", exported, err)
	}
	log.busy = func() bool { return true }
	if _, ok := errors.AsType[*adapter.BusyError](export()); !ok {
		t.Error("an export begins while the store is busy")
	}
}
