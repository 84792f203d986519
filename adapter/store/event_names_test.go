package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// named is an event to deliver under Segment's name.
func named(messageID, name string) adapter.Arrival {
	a := event(messageID)
	a.Event = name
	return a
}

// eventsOf lists the names of all deliveries, the oldest first.
func eventsOf(t *testing.T, s *store.Store, filter adapter.Filter) string {
	t.Helper()
	found, err := s.Find(context.Background(), filter, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range found {
		names = append([]string{found[i].MessageID + "=" + found[i].Event}, names...)
	}
	return strings.Join(names, " ")
}

// TestEventNames follows Segment's name of events through the queue into the log and
// back, over a restart and through another process.
func TestEventNames(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		formerStore(t, opts, time.Now())
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		rejected := named("message-3", "購入")
		rejected.Outcome, rejected.Reason = adapter.Rejected, "empty_event_key"
		long := strings.Repeat("é", 300)
		accept(t, q, named("message-1", "Order Completed"), named("message-2", "Signed Up"), rejected,
			named("message-4", " \t"), named("message-5", long),
			named("message-1", "Order Completed"))
		record(t, q, lease(t, q, 2), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		s = open(t, opts)
		q = connection(t, s, "default", "tenant")
		accept(t, q, named("message-6", "Order Completed"))
		wantText(t, "all", eventsOf(t, s, adapter.Filter{}),
			"m-1= m-2= m-3= m-3= message-1=Order Completed message-2=Signed Up message-3=購入 message-4= message-5="+
				long[:512]+" message-1=Order Completed message-6=Order Completed")
		beside := opts
		beside.Shared = true
		operator := open(t, beside)
		accept(t, q, named("message-7", "Newest"))
		for name, want := range map[string]string{
			"Order Completed": "message-1=Order Completed message-1=Order Completed message-6=Order Completed",
			"order completed": "", "購入": "message-3=購入", long: "message-5=" + long[:512], "Newest": "message-7=Newest",
			" ": "",
		} {
			wantText(t, name, eventsOf(t, operator, adapter.Filter{Event: name}), want)
		}

		// A redrive gives a name to those that have none.
		if got := redrive(t, operator, 3); got.Pending != 1 {
			t.Errorf("redriven %+v", got)
		}
		wantText(t, "redriven", eventsOf(t, s, adapter.Filter{IDs: []int64{3}}), "m-3=today's name")
	})
}

// TestEventNamesAreBounded has senders invent names without end.
func TestEventNamesAreBounded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		opts = store.WithEventNames(opts, 100)
		stores := []*store.Store{open(t, opts)}
		if opts.Path == "" {
			stores = append(stores, open(t, opts), open(t, opts))
		}
		var wait sync.WaitGroup
		for p := range 8 {
			q := connection(t, stores[p%len(stores)], "default", "tenant")
			wait.Go(func() {
				for round := range 5 {
					list := []adapter.Arrival{named(fmt.Sprintf("message-%d-%d", p, round), "Order Completed")}
					for i := range 40 {
						list = append(list, named(fmt.Sprintf("message-%d-%d-%d", p, round, i),
							fmt.Sprintf("invented %d", 10*p+40*round+i)))
					}
					accept(t, q, list...)
				}
			})
		}
		wait.Wait()
		var names int
		if err := raw(t, opts).QueryRow(`SELECT count(*) FROM event_names`).Scan(&names); err != nil {
			t.Fatal(err)
		}
		if names < 100 || names > 100+40*(len(stores)-1) {
			t.Errorf("%d names are stored", names)
		}
		found, err := stores[0].Find(context.Background(), adapter.Filter{}, 10_000)
		if err != nil || len(found) != 8*5*41 {
			t.Fatalf("%d deliveries, %v", len(found), err)
		}
		for i := range found {
			if name := found[i].Event; name != "" && name != "Order Completed" && !strings.HasPrefix(name,
				"invented ") {
				t.Errorf("%s is called %s", found[i].MessageID, name)
			}
		}
		if found, err = stores[0].Find(context.Background(), adapter.Filter{Event: "Order Completed"},
			1000); err != nil || len(found) != 40 {
			t.Errorf("%d events of a name from before, %v", len(found), err)
		}
	})
}
