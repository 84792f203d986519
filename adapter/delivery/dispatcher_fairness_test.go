package delivery_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// TestHugeUserDelaysOthersLittle has a user with 30 000 events before others, in
// a store that takes a millisecond for each record.
func TestHugeUserDelaysOthersLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const huge, others = 30_000, 200
		var mu sync.Mutex
		var order []string
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			if event.UserID == "huge" {
				mu.Lock()
				order = append(order, event.IdempotencyKey)
				mu.Unlock()
			}
			time.Sleep(50 * time.Millisecond)
			return delivered
		})
		s.queue.Takes = time.Millisecond
		s.accept("huge", messages("huge", huge)...)
		stop := s.start()
		for i := range others {
			s.accept(fmt.Sprintf("user-%d", i), fmt.Sprintf("other-%06d", i))
		}
		sleep(30 * time.Second)
		slowest := time.Duration(0)
		for i := range others {
			slowest = max(slowest, s.result(fmt.Sprintf("other-%06d", i)).Lag)
		}
		t.Logf("others waited for %v at most; %d events parked until then", slowest, s.queue.Stats().Parks)
		if slowest > 5*time.Second {
			t.Errorf("another user's event waited for %v", slowest)
		}
		// Later users meet the parked events coming back.
		for i := range 100 {
			sleep(10 * time.Second)
			s.accept(fmt.Sprintf("user-%d", i), fmt.Sprintf("later-%06d", i))
		}
		sleep(30 * time.Second)
		slowest = 0
		for i := range 100 {
			slowest = max(slowest, s.result(fmt.Sprintf("later-%06d", i)).Lag)
		}
		if slowest > 5*time.Second {
			t.Errorf("a later event waited for %v", slowest)
		}
		began := time.Now()
		for s.queue.Pending() > 0 && time.Since(began) < 4*time.Hour {
			sleep(time.Minute)
		}
		if n := s.queue.Pending(); n > 0 {
			t.Errorf("%d are pending still", n)
		}
		inversions := 0
		for i := 1; i < len(order); i++ {
			if order[i] < order[i-1] {
				inversions++
			}
		}
		t.Logf("later ones waited for %v at most; %d parks for %d events, %d steps back in the order", slowest,
			s.queue.Stats().Parks, huge, inversions)
		if s.queue.Stats().Parks > 10*huge {
			t.Errorf("%d parks for %d events", s.queue.Stats().Parks, huge)
		}
		if inversions > huge/100 {
			t.Errorf("%d steps back in the order of %d events", inversions, huge)
		}
		if took, alone := time.Since(began)+1030*time.Second, huge*51*time.Millisecond; took > alone*11/10 {
			t.Errorf("the huge user took %v, where it takes %v without parking", took, alone)
		}
		stop()
	})
}
