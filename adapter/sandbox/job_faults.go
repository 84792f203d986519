package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// JobFaults are what the sandbox does wrong with import jobs on purpose. They are
// drawn when a job is created.
type JobFaults struct {
	// AbortFirst is how many jobs are aborted before others are not, counted
	// since the start or the last reset. Default: 0.
	AbortFirst int
	// AbortRate is the share of the other jobs, 0 to 1, that are aborted. Default: 0.
	AbortRate float64
	// AbortAfter is how many records an aborted job has processed before: they
	// have had their effect, and no file tells which. A job with fewer processes
	// all. Default: half of the job's records.
	AbortAfter int
	// RefuseRecords lists statuses with which to refuse a share of the records
	// that are valid. A rule with After processes the record all the same;
	// RetryAfter is not for records. Default: none.
	RefuseRecords []FailRule
}

// ParseAbort reads which jobs to abort: "2" for the first two, "10%" or "0.1" for
// a share.
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
		all = append(all, fmt.Errorf("job faults: abort first %d, after %d: must not be negative", f.AbortFirst, f.AbortAfter))
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

// fate is what the faults have in store for one job. Its source is its own, so
// that requests meanwhile do not change which records are refused.
type fate struct {
	abort  bool
	refuse []FailRule
	dice   *rand.Rand // nil if nothing is left to chance
}

// fate decides about a job that has the given number of jobs before it.
func (in *injector) fate(faults JobFaults, before int) fate {
	f := fate{abort: before < faults.AbortFirst, refuse: faults.RefuseRecords}
	if faults.AbortRate == 0 && len(faults.RefuseRecords) == 0 {
		return f
	}
	in.mu.Lock()
	f.dice = rand.New(rand.NewPCG(in.rand.Uint64(), in.rand.Uint64()))
	in.mu.Unlock()
	f.abort = f.dice.Float64() < faults.AbortRate || f.abort
	return f
}

// record decides about one record.
func (f *fate) record() (rule FailRule, struck bool) {
	if len(f.refuse) == 0 {
		return FailRule{}, false
	}
	rule, struck, _ = pick(f.refuse, f.dice.Float64())
	return rule, struck
}
