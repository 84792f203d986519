package delivery

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"segment-saasquatch/mapping"
)

// Mapper maps one event at the time now, as [mapping.Mapper] does. At the zero time the event's age
// does not matter. A Mapper is safe for concurrent use.
type Mapper interface {
	MapWith(event []byte, now time.Time, opts mapping.Options) mapping.Result
}

// PanicFunc is told the cause and the stack of a contained panic. Both may hold parts of an event.
// Several goroutines may call it at once.
type PanicFunc func(cause any, stack []byte)

// internalErrorDetail replaces the details of a panic outside the log.
const internalErrorDetail = "a fault of this program; its log has the details"

// mapChunk is how many events a goroutine maps at a time, enough to outweigh the cost of a
// goroutine.
const mapChunk = 32

// mapAll maps the events on all processors and calls took with each result, from several goroutines
// at once. It returns when the last call of took has returned. A panic of the mapper costs other
// events nothing: its event has a result without a Kind.
func mapAll(
	mapper Mapper, events [][]byte, now time.Time, opts mapping.Options,
	panicked PanicFunc, took func(i int, mapped mapping.Result),
) {
	var taken atomic.Int64
	work := func() {
		for {
			end := int(taken.Add(mapChunk))
			for i := end - mapChunk; i < min(end, len(events)); i++ {
				took(i, mapOne(mapper, events[i], now, opts, panicked))
			}
			if end >= len(events) {
				return
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (len(events)+mapChunk-1)/mapChunk) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

func mapOne(
	mapper Mapper, event []byte, now time.Time, opts mapping.Options, panicked PanicFunc,
) (mapped mapping.Result) {
	defer func() {
		if cause := recover(); cause != nil {
			mapped = mapping.Result{}
			panicked(cause, debug.Stack())
		}
	}()
	return mapper.MapWith(event, now, opts)
}
