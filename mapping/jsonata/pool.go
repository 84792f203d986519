package jsonata

import "sync"

// idle holds the evaluators for the next evaluations, the one used last at the end. Callers bound the concurrent
// evaluations.
var idle struct {
	mu   sync.Mutex
	list []*evaluator
}

// acquire returns an idle evaluator, or a new one. The caller must release it.
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

// release keeps an evaluator for the next evaluation, unless it is broken or maxIdle are idle.
func release(e *evaluator) {
	active.Add(-1)
	idle.mu.Lock()
	defer idle.mu.Unlock()
	if !e.broken && len(idle.list) < maxIdle {
		idle.list = append(idle.list, e)
	}
}
