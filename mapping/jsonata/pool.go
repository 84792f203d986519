package jsonata

import "runtime"

// evaluators holds one place for each processor, for evaluation does nothing but
// compute. Who finds no evaluator free waits for one, at most for the [Timeout] of
// each that is ahead. An evaluator is made when its place is first taken.
var evaluators = func() chan *evaluator {
	places := make(chan *evaluator, runtime.GOMAXPROCS(0))
	for range cap(places) {
		places <- nil
	}
	return places
}()

// acquire takes an evaluator, which the caller must release.
func acquire() *evaluator {
	e := <-evaluators
	if e == nil {
		defer func() {
			if e == nil { // making it panicked
				evaluators <- nil
			}
		}()
		e = newEvaluator()
	}
	return e
}

// release gives an evaluator back, or, if it is broken, its place.
func release(e *evaluator) {
	if e.broken {
		e = nil
	}
	evaluators <- e
}
