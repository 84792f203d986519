package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// JobFaults are the faults to inject into import jobs. They are drawn when a job is created.
type JobFaults struct {
	// AbortFirst is the number of jobs to abort, counted from the start or the last reset. Default: 0.
	AbortFirst int
	// AbortRate is the share of the other jobs to abort, 0 to 1. Default: 0.
	AbortRate float64
	// AbortAfter is the number of records that a job imports before it aborts. They keep their effect, and no file
	// lists them. A job with fewer records imports all. Default: half of the job's records.
	AbortAfter int
	// RefuseRecords refuses a share of the valid records with a status. A rule with After imports the record anyway.
	// Rules for records have no RetryAfter and no Page. Default: none.
	RefuseRecords []FailRule
}

// ParseAbort reads which jobs to abort: "2" means the first two, "10%" or "0.1" a share.
func ParseAbort(text string) (first int, rate float64, err error) {
	if strings.ContainsAny(text, "%.") {
		rate, err = ParseRate(text)
		return 0, rate, err
	}
	first, err = strconv.Atoi(text)
	if err != nil || first < 0 || text[0] == '+' {
		return 0, 0, fmt.Errorf("abort %q: want a number of jobs such as 1, or a share such as 10%%", text)
	}
	return first, 0, nil
}

func (f JobFaults) validate() error {
	all := validateRules("job fault", f.RefuseRecords, 0)
	if f.AbortFirst < 0 || f.AbortAfter < 0 {
		all = append(all, fmt.Errorf("job faults: abort first %d, after %d: must not be negative",
			f.AbortFirst, f.AbortAfter))
	}
	if !isShare(f.AbortRate) {
		all = append(all, fmt.Errorf("job faults: abort rate %v: want 0 to 1", f.AbortRate))
	}
	for _, rule := range f.RefuseRecords {
		if rule.RetryAfter != 0 {
			all = append(all, fmt.Errorf("job fault %v: a record has no retry-after", rule))
		}
		if rule.Page {
			all = append(all, fmt.Errorf("job fault %v: a record has no page", rule))
		}
	}
	return errors.Join(all...)
}

// jobInjector decides about the faults of one job. It has a random source of its own, so that concurrent requests do
// not change which records are refused.
type jobInjector struct {
	abort  bool
	refuse []FailRule
	rand   *rand.Rand // nil if no decision is random
}

// forJob decides about a job, given the number of jobs before it.
func (in *injector) forJob(faults JobFaults, before int) jobInjector {
	f := jobInjector{abort: before < faults.AbortFirst, refuse: faults.RefuseRecords}
	if faults.AbortRate == 0 && len(faults.RefuseRecords) == 0 {
		return f
	}
	in.mu.Lock()
	f.rand = rand.New(rand.NewPCG(in.rand.Uint64(), in.rand.Uint64()))
	in.mu.Unlock()
	f.abort = f.rand.Float64() < faults.AbortRate || f.abort
	return f
}

// draw decides about one record.
func (f *jobInjector) draw() (rule FailRule, ok bool) {
	if len(f.refuse) == 0 {
		return FailRule{}, false
	}
	rule, ok, _ = pick(f.refuse, f.rand.Float64())
	return rule, ok
}
