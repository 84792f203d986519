package jsonata

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dop251/goja"
)

// TestTimeoutOfMany checks that each evaluation has its time even if several share a processor.
func TestTimeoutOfMany(t *testing.T) {
	for _, share := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			guards := make([]*guard, share*runtime.GOMAXPROCS(0))
			defer active.Add(-int64(len(guards)))
			for i := range guards {
				active.Add(1)
				guards[i] = newGuard(goja.New(), nil)
			}
			last := guards[len(guards)-1] // the others began while fewer ran
			time.Sleep(time.Duration(share)*Timeout - time.Millisecond)
			for _, g := range guards {
				if err := g.reason(); err != nil {
					t.Errorf("%d on each processor: ended early: %v", share, err)
				}
			}
			time.Sleep(2 * time.Millisecond)
			if err := last.reason(); !errors.Is(err, ErrTimeout) {
				t.Errorf("%d on each processor: %v when the time was over", share, err)
			}
			for _, g := range guards {
				if err := g.end(); !errors.Is(err, ErrTimeout) {
					t.Errorf("%d on each processor: ended with %v", share, err)
				}
			}
		})
	}
}
