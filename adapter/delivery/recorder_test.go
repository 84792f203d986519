package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// TestRejectedEventsShareResults rejects many events of one request for two reasons, in
// both kinds of delivery. The receipt has all of them, and so has the sum of the records.
func TestRejectedEventsShareResults(t *testing.T) {
	const n = 1000
	var events [][]byte
	for range n {
		events = append(events, []byte(`{}`), []byte(`{"type":"page"}`), []byte(`{"type":"track","userId":"u"}`))
	}
	events = events[:3*n-2] // n of the first reason
	events = append(events, []byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`))
	var mu sync.Mutex
	var told []adapter.Result
	record := func(r adapter.Result) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, r)
	}
	sender := deliverytest.Always(delivered)
	for name, acceptor := range map[string]interface {
		Accept(context.Context, [][]byte) (adapter.Receipt, error)
	}{
		"durable": delivery.NewDurable(newMapper(t), deliverytest.NewQueue(t),
			delivery.DurableOptions{Record: record}),
		"direct": delivery.NewDirect(newMapper(t), delivery.NewRetrier(sender,
			delivery.NewBreaker(delivery.BreakerOptions{}), delivery.RetrierOptions{}),
			delivery.DirectOptions{Record: record}),
	} {
		told = nil
		receipt, err := acceptor.Accept(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		counts := receipt.Counts()
		if counts[adapter.Rejected] != 2*n-1 || counts[adapter.Skipped] != n-1 {
			t.Errorf("%s: receipt %v", name, counts)
		}
		lines, sums := make(map[mapping.Reason]int), make(map[mapping.Reason]int)
		var shared []string
		for _, r := range told {
			lines[r.Reason]++
			sums[r.Reason] += max(1, r.Events)
			if r.Events > 0 {
				shared = append(shared, fmt.Sprintf("%s %s %d %q", r.Outcome, r.Reason, r.Events, r.MessageID))
			}
		}
		if lines["missing_type"] != 101 || lines["missing_event_name"] != 101 || lines["unsupported_type"] != n-1 {
			t.Errorf("%s: recorded %v", name, lines)
		}
		if sums["missing_type"] != n || sums["missing_event_name"] != n-1 {
			t.Errorf("%s: recorded %v events", name, sums)
		}
		if want := []string{`rejected missing_type 900 ""`, `rejected missing_event_name 899 ""`}; !slices.Equal(
			shared, want) {
			t.Errorf("%s: shared %q, want %q", name, shared, want)
		}
	}
}

// TestFewRejectedEventsShareNothing has a hundred of each reason.
func TestFewRejectedEventsShareNothing(t *testing.T) {
	var told []adapter.Result
	d := delivery.NewDurable(newMapper(t), deliverytest.NewQueue(t),
		delivery.DurableOptions{Record: func(r adapter.Result) { told = append(told, r) }})
	for range 2 { // requests
		var events [][]byte
		for range 100 {
			events = append(events, []byte(`{}`), []byte(`{"type":"track","userId":"u"}`))
		}
		if _, err := d.Accept(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 400 || slices.ContainsFunc(told, func(r adapter.Result) bool { return r.Events != 0 }) {
		t.Errorf("%d results", len(told))
	}
}
