package importjob

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// maxRefused is the number of jobs that may refuse a record temporarily. Then its event is dead.
const maxRefused = 3

// leftover are the events that a job leaves to the next one, because SaaSquatch refused their records temporarily.
// They are never sent one by one, since that would fire programs.
type leftover struct {
	// Refused are packed ids of events, by the number of jobs that have refused them, from one on.
	Refused [maxRefused - 1][]byte `json:"refused"`
	// Ambiguous is the start of the first job that may have processed one of them; zero if there was none.
	Ambiguous time.Time `json:"ambiguous,omitzero"`
}

func (l *leftover) ids() (ids []int64, err error) {
	times, err := l.times()
	for id := range times {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, err
}

// times returns how many jobs have refused each event, by its id.
func (l *leftover) times() (map[int64]int, error) {
	times := make(map[int64]int)
	if l == nil {
		return times, nil
	}
	for k, packed := range l.Refused {
		ids, err := unpackIDs(packed)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			times[id] = k + 1
		}
	}
	return times, nil
}

// newLeftover returns the leftover of the job, nil for none. Refused are ids of events as in [leftover.Refused].
func newLeftover(j *job, refused [maxRefused - 1][]int64, ambiguous bool) *leftover {
	l, events := &leftover{}, 0
	for k, ids := range refused {
		l.Refused[k] = packIDs(ids)
		events += len(ids)
	}
	if events == 0 {
		return nil
	}
	if before := j.state.Before; before != nil {
		l.Ambiguous = before.Ambiguous
	}
	if ambiguous {
		l.Ambiguous = earlier(l.Ambiguous, earlier(j.state.Ambiguous, j.state.Began))
	}
	return l
}

// earlier returns the earlier one of two times. A zero time does not count.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// over reports whether SaaSquatch may have forgotten the keys of a job. Ambiguous is its start, zero for no job.
func (r *runner) over(ambiguous time.Time) bool {
	return !ambiguous.IsZero() && !r.Now().Before(ambiguous.Add(r.Horizon))
}

// expired gives up the events of a job that cannot be imported safely any more, and reports whether these are all.
func (r *runner) expired(ctx context.Context, j *job) (bool, error) {
	const detail = "a job may have imported it, and SaaSquatch may have forgotten its key by now"
	if r.over(j.state.Ambiguous) {
		return true, r.giveUp(ctx, j, mapping.ReasonHorizonOver, detail)
	}
	if j.state.Before == nil || !r.over(j.state.Before.Ambiguous) {
		return false, nil
	}
	before, err := j.state.Before.times()
	if err != nil {
		return false, err
	}
	dead := r.dead(j, mapping.ReasonHorizonOver, detail)
	return false, r.settleAll(ctx, j, func(_ int, event *adapter.Leased) (adapter.Step, bool) {
		return dead, before[event.ID] > 0
	})
}

// waitForLeft waits before a job that has only leftover events: SaaSquatch is overloaded, or fails.
func (r *runner) waitForLeft(ctx context.Context, l *leftover) error {
	wait := r.Poll << 4
	if len(l.Refused[maxRefused-2]) > 0 {
		wait = r.Poll << 6
	}
	const why = "another import job: SaaSquatch has refused records for the time being"
	return r.Progress.Wait(ctx, why, min(wait, maxWait))
}

var errDamagedIDs = errors.New("its list of events is damaged")

// packIDs encodes ascending ids: their differences, as unsigned varints.
func packIDs(ids []int64) []byte {
	var packed []byte
	last := int64(0)
	for _, id := range ids {
		packed = binary.AppendUvarint(packed, uint64(id-last))
		last = id
	}
	return packed
}

func unpackIDs(packed []byte) (ids []int64, err error) {
	last := int64(0)
	for len(packed) > 0 {
		step, n := binary.Uvarint(packed)
		if n <= 0 {
			return nil, errDamagedIDs
		}
		last += int64(step)
		ids = append(ids, last)
		packed = packed[n:]
	}
	return ids, nil
}
