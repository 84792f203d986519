package adapter_test

import (
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

func TestZZ(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			time.Sleep(50 * time.Millisecond)
			return delivered
		})
		s.queue.takes = time.Millisecond
		s.accept("huge", messages("huge", 100000)...)
		stop := s.start()
		last := 0
		for i := range 40 {
			pass(time.Minute)
			s.queue.mu.Lock()
			n := s.queue.parks
			hist := map[int]int{}
			for _, e := range s.queue.events {
				if e.outcome == adapter.Pending && e.lease == 0 {
					hist[int(time.Until(e.due)/(30*time.Second))]++
				}
			}
			t.Log(i+1, n-last, s.queue.records-n, s.queue.inHand, hist)
			last = n
			s.queue.mu.Unlock()
		}
		stop()
	})
}
