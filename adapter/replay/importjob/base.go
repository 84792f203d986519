package replay

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// findBase finds out whether SaaSquatch counts the records of a file from 0 or from
// 1, which it does not document: on one of the two the events that did not fail
// are those among the results.
func (i *importing) findBase(ctx context.Context, j *job, seen adapter.ImportJob, failures []adapter.RecordError) (int, error) {
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
		return 0, fmt.Errorf("job %s: its errors name records from %d to %d of a file of %d lines: see them in SaaSquatch's portal", seen.ID, first, last, lines)
	case first == 0:
		return 0, nil
	case last == lines:
		return 1, nil
	}
	sums, timed, err := i.sumLines(ctx, j)
	if err != nil {
		return 0, err
	}
	results, err := i.sumResults(ctx, seen, timed)
	if err != nil {
		return 0, err
	}
	var fits [2]bool
	for base := range fits {
		rest := sums.total
		for k := range failures {
			rest -= sums.lines[failures[k].Record-int64(base)]
		}
		fits[base] = rest == results
	}
	switch {
	case fits[1]: // if both fit, the events that make the difference are alike
		return 1, nil
	case fits[0]:
		return 0, nil
	default:
		return 0, fmt.Errorf("job %s: its results and its errors do not add up to the file of %d lines: see them in SaaSquatch's portal", seen.ID, lines)
	}
}

var baseSeed = maphash.MakeSeed()

// sumOf returns a number for an event in a file or among the results. The sum of
// those of many events tells whether they are the same, in any order.
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

// lineSums are the numbers of a file's lines.
type lineSums struct {
	lines []uint64
	total uint64
}

// sumLines returns the numbers of the job's lines, and whether the times of events
// count in them: not if one has none, for then SaaSquatch gives it one.
func (i *importing) sumLines(ctx context.Context, j *job) (*lineSums, bool, error) {
	timed := true
	for {
		sums := &lineSums{lines: make([]uint64, len(j.ids))}
		allTimed := true
		err := i.eachHeld(ctx, j, func(line int, held *adapter.Leased) error {
			mapped := i.Mapper.MapWith(held.Payload, time.Time{}, mapping.Options{})
			event := &mapped.UserEvent
			allTimed = allTimed && event.Timed
			sums.lines[line] = sumOf(event.AccountID, event.UserID, event.Key, event.DateTriggered, timed)
			sums.total += sums.lines[line]
			return nil
		})
		if err != nil || allTimed || !timed {
			return sums, timed, err
		}
		timed = false
	}
}

// sumResults returns the sum over the events that were imported.
func (i *importing) sumResults(ctx context.Context, seen adapter.ImportJob, timed bool) (sum uint64, err error) {
	err = i.call(ctx, func() error {
		sum = 0
		for event, err := range i.importer.DownloadResults(ctx, seen) {
			if err != nil {
				return err
			}
			sum += sumOf(event.AccountID, event.UserID, event.Key, event.DateTriggered, timed)
		}
		return nil
	})
	if errors.Is(err, adapter.ErrNoFile) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("job %s: %w", seen.ID, err)
	}
	return sum, nil
}
