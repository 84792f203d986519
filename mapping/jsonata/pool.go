package jsonata

import "sync"

// idle are the evaluators that wait for the next evaluation, the one used last at the
// end. Callers bound how many evaluations run at once, since they know for whom.
var idle struct {
	mu   sync.Mutex
	list []*evaluator
}

// acquire returns an evaluator, which the caller must release. It makes one if none is
// idle.
func acquire() *evaluator {
	active.Add(1)
	idle.mu.Lock()
	last := len(idle.list) - 1
	if last < 0 {
		idle.mu.Unlock()
		return newEvaluator()
	}
	defer idle.mu.Unlock()
	e := idle.list[last]
	idle.list[last] = nil
	idle.list = idle.list[:last]
	return e
}

// release keeps an evaluator for the next evaluation, unless it is broken or enough
// are kept.
func release(e *evaluator) {
	active.Add(-1)
	idle.mu.Lock()
	defer idle.mu.Unlock()
	if !e.broken && len(idle.list) < maxIdle {
		idle.list = append(idle.list, e)
	}
}
