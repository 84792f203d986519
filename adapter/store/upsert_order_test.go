package store_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// firstUpserts maps what begins with "identify" to an upsert, and all else to an event,
// each of the user u.
type firstUpserts struct{}

func (firstUpserts) MapWith(event []byte, _ time.Time, _ mapping.Options) mapping.Result {
	if id, ok := bytes.CutPrefix(event, []byte("identify ")); ok {
		return mapping.Result{Kind: mapping.KindUserUpsert, MessageID: string(id),
			Upserts: []mapping.UserUpsert{{UserID: "u", AccountID: "u", Body: event}}}
	}
	return mapping.Result{Kind: mapping.KindUserEvent, MessageID: string(event),
		UserEvent: mapping.UserEvent{UserID: "u", AccountID: "u", Key: "x", IdempotencyKey: string(event),
			Body: event}}
}

// TestIdentifyComesFirstAfterRestart closes the store again and again while an identify
// waits for its next attempt. What was accepted behind it must stay behind it.
func TestIdentifyComesFirstAfterRestart(t *testing.T) {
	opts := sqliteOptions(t)
	synctest.Test(t, func(t *testing.T) {
		fails := 4 // of upserts
		var order []string
		sender := &deliverytest.Sender{Answer: func(_ context.Context, call *deliverytest.Call) adapter.Attempt {
			id := call.ID
			if call.Upsert != nil {
				if fails > 0 {
					fails--
					return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonServerError, Status: 503,
						Unprocessed: true}
				}
				id = strings.TrimPrefix(string(call.Upsert.Body), "identify ")
			}
			order = append(order, id) // of one user, so one call at a time
			return adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
		}}
		var want []string
		for round := range 40 {
			s, err := store.Open(context.Background(), opts)
			if err != nil {
				t.Fatal(err)
			}
			q := connection(t, s, "default", "tenant")
			dispatcher := delivery.NewDispatcher(firstUpserts{}, sender,
				delivery.NewBreaker(delivery.BreakerOptions{}), q,
				delivery.DispatcherOptions{Random: func() float64 { return 0.7 }})
			ctx, cancel := context.WithCancel(context.Background())
			stopped := make(chan error)
			go func() { stopped <- dispatcher.Run(ctx) }()
			if round == 0 {
				var events [][]byte
				for i := range 20 {
					id := fmt.Sprintf("message-%02d", i)
					want = append(want, id)
					if i == 0 {
						id = "identify " + id
					}
					events = append(events, []byte(id))
				}
				if _, err := delivery.NewDurable(firstUpserts{}, q, delivery.DurableOptions{}).Accept(ctx,
					events); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Duration(500+round*100) * time.Millisecond) // on the fake clock
			cancel()
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if !slices.Equal(order, want) {
			t.Errorf("%d failures are left; sent %v", fails, order)
		}
	})
}
