package delivery

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

var foreignPage = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonUnexpectedAnswer,
	Detail: "HTTP 404, a page", Status: 404, Foreign: true, Unprocessed: true}

// firewall answers the events of users whose name begins with odd, after a while.
func firewall(event *mapping.UserEvent, _ int) adapter.Attempt {
	time.Sleep(100 * time.Millisecond)
	if strings.HasPrefix(event.UserID, "odd") {
		return foreignPage
	}
	return delivered
}

// TestDirectOddEventAmongGoodOnes has a firewall stop one event of a request: it is
// dead by the time of the answer, and Segment need not send the request again.
func TestDirectOddEventAmongGoodOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(firewall)
		d := newDirect(t, sender, BreakerOptions{Random: func() float64 { return 0.5 }}, nil)
		events := ofUsers(50)
		events = append(events, track("odd", "x", "message-odd"))
		receipt := accept(t, d, events...)
		for i, result := range receipt.Results {
			if i < 50 && result.Outcome != adapter.Delivered {
				t.Errorf("event %d: %+v", i, result)
			}
		}
		odd := receipt.Results[50]
		if odd.Outcome != adapter.Dead || odd.Reason != mapping.ReasonUnexpectedAnswer || odd.Attempts < 3 ||
			odd.Detail != foreignPage.Detail || receipt.Redeliver {
			t.Errorf("got %+v, redeliver %t", odd, receipt.Redeliver)
		}
	})
}

// TestDirectLoneEventIsNotGivenUp sends an event alone, again and again: whether it is
// the event or the tenant shows once another request's event passes.
func TestDirectLoneEventIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirect(t, deliverytest.NewNumberedSender(firewall),
			BreakerOptions{Random: func() float64 { return 0.5 }}, nil)
		for _, odd := range [][]byte{track("odd", "x", "message-odd"),
			[]byte(`{"type":"track","userId":"odd-2","event":"no id"}`)} {
			for range 5 {
				receipt := accept(t, d, odd)
				if got := receipt.Results[0]; got.Outcome != adapter.Pending ||
					got.Reason != mapping.ReasonUnexpectedAnswer || got.Attempts < 3 || !receipt.Redeliver {
					t.Errorf("got %+v", got)
				}
			}
			go func() {
				time.Sleep(time.Second)
				if _, err := d.Accept(t.Context(), [][]byte{track("good", "x", fmt.Sprintf("message-good-%d",
					time.Now().UnixNano()))}); err != nil {
					t.Error(err)
				}
			}()
			if got := accept(t, d, odd).Results[0]; got.Outcome != adapter.Dead ||
				got.Reason != mapping.ReasonUnexpectedAnswer {
				t.Errorf("got %+v", got)
			}
		}
	})
}

// TestDirectWrongBaseURL has every answer be a page: a large request is given up after
// few of them, and nothing is dead, whether or not others passed before.
func TestDirectWrongBaseURL(t *testing.T) {
	for name, before := range map[string]int{"from the start": 0, "later": 100} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wrong atomic.Bool
				sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, attempt int) adapter.Attempt {
					if wrong.Load() {
						time.Sleep(50 * time.Millisecond)
						return foreignPage
					}
					return firewall(event, attempt)
				})
				d := newDirect(t, sender, BreakerOptions{Ceiling: 8}, nil)
				if before > 0 {
					accept(t, d, ofUsers(before)...)
				}
				wrong.Store(true)
				already, began := sender.Requests(), time.Now()
				for range 3 {
					receipt := accept(t, d, ofUsers(1000)[before:]...)
					for i, result := range receipt.Results {
						if result.Outcome != adapter.Pending || result.Reason != mapping.ReasonUnexpectedAnswer {
							t.Fatalf("event %d: %+v", i, result)
						}
					}
				}
				if took, n := time.Since(began), sender.Requests()-already; took > 3*time.Second || n > 60 {
					t.Errorf("%d requests in %v", n, took)
				}
				wrong.Store(false)
				time.Sleep(20 * time.Second) // the breaker sends no probe before
				if receipt := accept(t, d, ofUsers(200)...); receipt.Redeliver {
					t.Errorf("got %v", receipt.Counts())
				}
			})
		})
	}
}

// TestKnownEventsTakeNoToken redelivers a batch of 1000 to a tenant with a rate limit of
// 50: each time the rate's tokens go to events that are not delivered yet, so that all
// are at last, each sent once.
func TestKnownEventsTakeNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			time.Sleep(20 * time.Millisecond)
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{RateLimit: 50}, nil)
		events := ofUsers(1000)
		rounds := 0
		for redeliver := true; redeliver; rounds++ {
			if rounds > 10 {
				t.Fatalf("%d events were sent in %d rounds", sender.Requests(), rounds)
			}
			before := sender.Requests()
			receipt := accept(t, d, events...)
			redeliver = receipt.Redeliver
			// Four seconds at 50 a second, and the burst.
			if n := sender.Requests() - before; redeliver && n < 150 {
				t.Errorf("round %d: %d events were sent, %v", rounds, n, receipt.Counts())
			}
		}
		if n := sender.Requests(); rounds > 6 || n != 1000 {
			t.Errorf("%d events were sent in %d rounds", n, rounds)
		}
		began := time.Now()
		receipt := accept(t, d, events...)
		if took := time.Since(began); took > 0 || receipt.Counts()[adapter.Duplicate] != 1000 {
			t.Errorf("the known events took %v: %v", took, receipt.Counts())
		}
	})
}

// TestKnownEventsTakeNoSlot redelivers events while slow ones hold every slot.
func TestKnownEventsTakeNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		sender := deliverytest.NewNumberedSender(func(*mapping.UserEvent, int) adapter.Attempt {
			if slow.Load() {
				time.Sleep(time.Minute)
			}
			return delivered
		})
		d := newDirect(t, sender, BreakerOptions{Ceiling: 2}, nil)
		known := ofUsers(10)
		accept(t, d, known...)
		slow.Store(true)
		// they go on behind the answer
		accept(t, d, track("slow-1", "x", "message-slow-1"), track("slow-2", "x", "message-slow-2"))
		began := time.Now()
		receipt := accept(t, d, known...)
		if took := time.Since(began); took > 0 || receipt.Counts()[adapter.Duplicate] != 10 {
			t.Errorf("the known events took %v: %v", took, receipt.Counts())
		}
		time.Sleep(2 * time.Minute)
	})
}
