package importjob

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// findBase finds out whether SaaSquatch counts the records of a file from 0 or from 1, which it does not document.
// With the right base, the events that did not fail are those among the results.
func (r *runner) findBase(
	ctx context.Context, j *job, remote adapter.ImportJob, failures []adapter.RecordError,
) (int, error) {
	lines := int64(len(j.ids))
	first, last := lines, int64(0)
	for k := range failures {
		record := failures[k].Record
		first, last = min(first, record), max(last, record)
	}
	switch {
	case len(failures) == 0 || int64(len(failures)) == lines && first == 1:
		return 1, nil
	case first < 0 || last > lines || first == 0 && last == lines:
		return 0, fmt.Errorf("job %s: its errors name records from %d to %d of a file of %d lines: "+
			"see them in SaaSquatch's portal", remote.ID, first, last, lines)
	case first == 0:
		return 0, nil
	case last == lines:
		return 1, nil
	}
	sums, total, timed, err := r.sumLines(ctx, j)
	if err != nil {
		return 0, err
	}
	results, err := r.sumResults(ctx, remote, timed)
	if err != nil {
		return 0, err
	}
	for _, base := range []int{1, 0} { // if both fit, the events that differ are alike
		rest := total
		for k := range failures {
			rest -= sums[failures[k].Record-int64(base)]
		}
		if rest == results {
			return base, nil
		}
	}
	return 0, fmt.Errorf("job %s: its results and its errors do not add up to the file of %d lines: "+
		"see them in SaaSquatch's portal", remote.ID, lines)
}

var baseSeed = maphash.MakeSeed()

// sumOf returns a hash of an event in a file or among the results. The sum of many hashes tells whether the events
// are the same, in any order.
func sumOf(accountID, userID, key string, triggered int64, timed bool) uint64 {
	var h maphash.Hash
	h.SetSeed(baseSeed)
	for _, text := range []string{accountID, userID, key} {
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0)
	}
	if timed {
		maphash.WriteComparable(&h, triggered)
	}
	return h.Sum64()
}

// sumLines returns the hashes of the job's lines, their sum, and whether the hashes include times. They do not if an
// event has no time, because SaaSquatch sets one then.
func (r *runner) sumLines(ctx context.Context, j *job) (sums []uint64, total uint64, timed bool, err error) {
	for timed = true; ; timed = false {
		sums, total = make([]uint64, len(j.ids)), 0
		allTimed := true
		err := r.eachHeld(ctx, j, func(line int, held *adapter.Leased) error {
			mapped := r.Mapper.MapWith(held.Payload, time.Time{}, mapping.Options{})
			event := &mapped.UserEvent
			allTimed = allTimed && event.Timed
			sums[line] = sumOf(event.AccountID, event.UserID, event.Key, event.DateTriggered, timed)
			total += sums[line]
			return nil
		})
		if err != nil || allTimed || !timed {
			return sums, total, timed, err
		}
	}
}

func (r *runner) sumResults(ctx context.Context, remote adapter.ImportJob, timed bool) (uint64, error) {
	return download(ctx, r, remote, r.importer.DownloadResults, func(sum uint64, event adapter.ImportedEvent) uint64 {
		return sum + sumOf(event.AccountID, event.UserID, event.Key, event.DateTriggered, timed)
	})
}

// download folds the records of one of the job's files, at each attempt from the start. Without a file it returns
// zero.
func download[T, Sum any](
	ctx context.Context, r *runner, remote adapter.ImportJob,
	open func(context.Context, adapter.ImportJob) iter.Seq2[T, error], add func(Sum, T) Sum,
) (sum Sum, err error) {
	var zero Sum
	err = r.call(ctx, func() error {
		sum = zero
		for record, err := range open(ctx, remote) {
			if err != nil {
				return err
			}
			sum = add(sum, record)
		}
		return nil
	})
	switch {
	case errors.Is(err, adapter.ErrNoFile):
		return zero, nil
	case err != nil:
		return zero, fmt.Errorf("job %s: %w", remote.ID, err)
	}
	return sum, nil
}
