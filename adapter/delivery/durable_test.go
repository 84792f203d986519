package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

func TestDurableAccept(t *testing.T) {
	queue := deliverytest.NewQueue(t)
	told := make(map[string][]adapter.Result) // by messageId
	durable := delivery.NewDurable(newMapper(t), queue, delivery.DurableOptions{Record: func(r adapter.Result) {
		told[r.MessageID] = append(told[r.MessageID], r)
	}})
	receipt, err := durable.Accept(context.Background(), [][]byte{
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`),
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`),
		[]byte(`{"type":"page","userId":"u","messageId":"message-2"}`),
		[]byte(`{"type":"track","userId":"u","messageId":"message-3"}`),
	})
	if err != nil || receipt.Redeliver {
		t.Fatalf("got %+v, %v", receipt, err)
	}
	var got []string
	for i, result := range receipt.Results {
		if result.Index != i {
			t.Errorf("result %d has index %d", i, result.Index)
		}
		got = append(got, result.Outcome.String()+" "+string(result.Reason))
	}
	want := "pending accepted, duplicate already_accepted, skipped unsupported_type, rejected missing_event_name"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %s", strings.Join(got, ", "))
	}
	if len(told["message-1"]) != 1 || len(told["message-2"]) != 1 || len(told["message-3"]) != 1 ||
		told["message-1"][0].Outcome != adapter.Duplicate {
		t.Errorf("told %v", told)
	}
	full := &adapter.UnavailableError{Message: "the disk is full"}
	queue.Fail(full)
	if _, err := durable.Accept(context.Background(), [][]byte{[]byte(`{}`)}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

// TestArrivals looks at what the queue is given of each kind of event.
func TestArrivals(t *testing.T) {
	// Identities and fingerprints are in stores out there and must never change.
	for _, test := range []struct {
		event string
		want  adapter.Arrival
	}{
		{`{"type":"track","userId":"u","event":"Signed Up","messageId":"message-1"}`,
			adapter.Arrival{MessageID: "message-1", UserID: "u", AccountID: "u", Event: "Signed Up",
				EventKey: "signedUp", Keyed: true, Outcome: adapter.Pending, Reason: mapping.ReasonAccepted}},
		{`{"type":"track","userId":"u","event":"Signed Up","messageId":"m"}`,
			adapter.Arrival{MessageID: "m", UserID: "u", AccountID: "u", Event: "Signed Up", EventKey: "signedUp",
				Identity: 8311934401807003855, Fingerprint: -3999630102292682017,
				Outcome: adapter.Pending, Reason: mapping.ReasonAccepted}},
		{`{"type":"track","userId":"u","event":"Signed Up"}`,
			adapter.Arrival{UserID: "u", AccountID: "u", Event: "Signed Up", EventKey: "signedUp",
				Outcome: adapter.Pending, Reason: mapping.ReasonAccepted}},
		{`{"type":"page","userId":"u","messageId":"message-2"}`,
			adapter.Arrival{MessageID: "message-2", Keyed: true, Outcome: adapter.Skipped,
				Reason: "unsupported_type"}},
		{`{"type":"track","userId":"u","event":"購入","messageId":12345678}`,
			adapter.Arrival{MessageID: "12345678", Event: "購入", Identity: -2013695010812853125,
				Outcome: adapter.Rejected, Reason: "empty_event_key"}},
		{`{"type":"track","userId":"u","event":"Signed Up","messageId":12345678}`,
			adapter.Arrival{MessageID: "12345678", UserID: "u", AccountID: "u", Event: "Signed Up",
				EventKey: "signedUp", Identity: 7763763577085875309, Fingerprint: -3999630102292682017,
				Outcome: adapter.Pending, Reason: mapping.ReasonAccepted}},
		{`{"type":"track","userId":"u","messageId":"m"}`,
			adapter.Arrival{MessageID: "m", Outcome: adapter.Rejected, Reason: "missing_event_name"}},
		{`not JSON`, adapter.Arrival{Outcome: adapter.Rejected, Reason: "invalid_json"}},
	} {
		queue := deliverytest.NewQueue(t)
		if _, err := delivery.NewDurable(newMapper(t), queue, delivery.DurableOptions{}).Accept(t.Context(),
			[][]byte{[]byte(test.event)}); err != nil {
			t.Fatal(err)
		}
		got := queue.Arrivals()[0]
		if string(got.Payload) != test.event {
			t.Errorf("%s: payload %s", test.event, got.Payload)
		}
		got.Payload, got.Detail = nil, ""
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: got %+v", test.event, got)
		}
	}
}

// TestFingerprintsDiffer checks that two events without a key that say anything
// different to SaaSquatch are never taken for one.
func TestFingerprintsDiffer(t *testing.T) {
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	rules.AccountID = []string{"properties.account"}
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	queue := deliverytest.NewQueue(t)
	var events [][]byte
	for _, who := range [][2]string{{"ab", "c"}, {"a", "bc"}, {"abc", "d"}, {"c", "ab"}} {
		for _, event := range []string{"x", "y"} {
			events = append(events,
				fmt.Appendf(nil, `{"type":"track","userId":%q,"event":%q,"messageId":"m","properties":{"account":%q}}`,
					who[1], event, who[0]))
		}
	}
	if _, err := delivery.NewDurable(mapper, queue, delivery.DurableOptions{}).Accept(t.Context(),
		append(events, events...)); err != nil {
		t.Fatal(err)
	}
	seen := make(map[int64]int)
	for i, arrival := range queue.Arrivals() {
		if arrival.Fingerprint == 0 || arrival.AccountID == arrival.UserID {
			t.Errorf("event %d: %+v", i, arrival)
		}
		seen[arrival.Fingerprint]++
	}
	if len(seen) != len(events) {
		t.Errorf("%d fingerprints for %d events", len(seen), len(events))
	}
}

// TestDurableTellsWhatIsSettled checks that Durable tells settled outcomes once. The
// Dispatcher tells those of pending events later.
func TestDurableTellsWhatIsSettled(t *testing.T) {
	var told []adapter.Result
	queue := deliverytest.NewQueue(t)
	queue.OnAccept = func(_ context.Context, arrivals []adapter.Arrival) error {
		arrivals[1].Outcome, arrivals[1].Reason = adapter.Duplicate, mapping.ReasonAlreadyDelivered
		return nil
	}
	d := delivery.NewDurable(newMapper(t), queue,
		delivery.DurableOptions{Record: func(r adapter.Result) { told = append(told, r) }})
	receipt, err := d.Accept(t.Context(), [][]byte{
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`),
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-2"}`),
		[]byte(`{"type":"page","messageId":"message-3"}`),
		[]byte(`{"type":"track","userId":"u","messageId":"message-4"}`),
	})
	if err != nil || receipt.Redeliver {
		t.Fatalf("%+v, %v", receipt, err)
	}
	first := receipt.Results[0]
	if first.Outcome != adapter.Pending || first.Reason != mapping.ReasonAccepted || first.Detail != "" ||
		first.EventKey != "x" || first.IdempotencyKey != "message-1" ||
		!slices.Contains(first.Warnings, mapping.WarningNoTimestamp) {
		t.Errorf("got %+v", first)
	}
	if second := receipt.Results[1]; second.Outcome != adapter.Duplicate ||
		second.Reason != mapping.ReasonAlreadyDelivered || second.Detail != "" {
		t.Errorf("got %+v", second)
	}
	if len(told) != 3 || fmt.Sprint(told) != fmt.Sprint(receipt.Results[1:]) {
		t.Errorf("told %+v", told)
	}
}

// TestDurableReturnsTheQueuesError checks that no outcome is told of events that may
// not be stored.
func TestDurableReturnsTheQueuesError(t *testing.T) {
	full := &adapter.UnavailableError{Message: "the disk is full"}
	queue := deliverytest.NewQueue(t)
	queue.Fail(full)
	d := delivery.NewDurable(newMapper(t), queue, delivery.DurableOptions{
		Record: func(r adapter.Result) { t.Errorf("told %+v", r) },
	})
	receipt, err := d.Accept(t.Context(), [][]byte{[]byte(`{"type":"page"}`), []byte(`{}`)})
	if !errors.Is(err, full) || receipt.Results != nil {
		t.Errorf("got %+v, %v", receipt, err)
	}
}

// TestDurableKeepsWhatItCannotMap has the mapping panic at some of many events.
func TestDurableKeepsWhatItCannotMap(t *testing.T) {
	const events = 1000
	queue, sound := deliverytest.NewQueue(t), newMapper(t)
	var mu sync.Mutex
	panics := 0
	d := delivery.NewDurable(mapperFunc(func(event []byte, now time.Time) mapping.Result {
		if bytes.HasSuffix(event, []byte(`7"}`)) {
			panic("a fault")
		}
		return sound.Map(event, now)
	}), queue, delivery.DurableOptions{
		OnPanic: func(any, []byte) {
			mu.Lock()
			defer mu.Unlock()
			panics++
		},
		Record: func(r adapter.Result) { t.Errorf("told %+v", r) },
	})
	batch := make([][]byte, events)
	for i := range batch {
		batch[i] = fmt.Appendf(nil, `{"type":"track","userId":"u","event":"x","messageId":"message-%03d"}`, i)
	}
	receipt, err := d.Accept(t.Context(), batch)
	if err != nil || panics != events/10 {
		t.Fatalf("%d panics, %v", panics, err)
	}
	for i, result := range receipt.Results {
		arrival := queue.Arrivals()[i]
		want := mapping.ReasonAccepted
		if i%10 == 7 {
			want = mapping.ReasonInternalError
		}
		if result.Index != i || result.Outcome != adapter.Pending || result.Reason != want ||
			arrival.Outcome != adapter.Pending || !bytes.Equal(arrival.Payload, batch[i]) {
			t.Fatalf("event %d: %+v, %+v", i, result, arrival)
		}
	}
}

// TestStoringOutlastsTheSender: a sender that hangs up does not keep its events from being
// stored.
func TestStoringOutlastsTheSender(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	queue := deliverytest.NewQueue(t)
	queue.OnAccept = func(ctx context.Context, _ []adapter.Arrival) error {
		hangUp()
		return ctx.Err()
	}
	receipt, err := delivery.NewDurable(newMapper(t), queue, delivery.DurableOptions{}).
		Accept(ctx, [][]byte{[]byte(`{"type":"track","userId":"u","event":"e","messageId":"message-1"}`)})
	if err != nil || ctx.Err() == nil || len(receipt.Results) != 1 || receipt.Results[0].Outcome != adapter.Pending {
		t.Errorf("got %+v, %v", receipt, err)
	}
}

// TestDurableIsLate has the queue answer later than Accept may take. The answer comes in
// time, the queue is told to withdraw, and what it has stored all the same is recorded.
func TestDurableIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, stored := range []bool{true, false} {
			told, withdrawn := 0, false
			queue := deliverytest.NewQueue(t)
			queue.OnAccept = func(ctx context.Context, _ []adapter.Arrival) error {
				time.Sleep(30 * time.Second)
				if withdrawn = ctx.Err() != nil; !stored {
					return &adapter.UnavailableError{Message: "busy"}
				}
				return nil
			}
			durable := delivery.NewDurable(newMapper(t), queue,
				delivery.DurableOptions{Record: func(adapter.Result) { told++ }})
			began := time.Now()
			_, err := durable.Accept(context.Background(), [][]byte{[]byte(`{"type":"page","userId":"u"}`)})
			late, ok := errors.AsType[*adapter.LateError](err)
			if took := time.Since(began); !ok || took != 4*time.Second {
				t.Fatalf("got %v after %v", err, took)
			}
			select {
			case <-late.Done:
				t.Error("the queue still has the events")
			default:
			}
			<-late.Done
			want := 0
			if stored {
				want = 1
			}
			if took := time.Since(began); took != 30*time.Second || told != want || !withdrawn {
				t.Errorf("done after %v, %d results recorded, withdrawn %v", took, told, withdrawn)
			}
		}
	})
}

// TestDurableSurvivesAPanic has the queue panic, which costs its request alone.
func TestDurableSurvivesAPanic(t *testing.T) {
	queue := deliverytest.NewQueue(t)
	queue.OnAccept = func(context.Context, []adapter.Arrival) error { panic("fault") }
	told := 0
	durable := delivery.NewDurable(newMapper(t), queue, delivery.DurableOptions{OnPanic: func(any, []byte) { told++ }})
	_, err := durable.Accept(t.Context(), [][]byte{[]byte(`{"type":"page","userId":"u"}`)})
	if err == nil || errors.As(err, new(*adapter.LateError)) || told != 1 {
		t.Errorf("got %v, %d panics told", err, told)
	}
}
