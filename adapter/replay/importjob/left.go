package replay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// maxRefused is how many jobs a record is sent in that SaaSquatch refuses for the time
// being. Then its event is dead.
const maxRefused = 3

// left are the events that a job leaves to the next one: SaaSquatch refused their
// records for the time being. They are never sent one by one, since that would fire
// programs.
type left struct {
	// Refused are packed ids of events, by how many jobs have refused them, from one on.
	Refused [maxRefused - 1][]byte `json:"refused"`
	// Ambiguous is when the first job was made that may have processed one of them all
	// the same; zero if there was none.
	Ambiguous time.Time `json:"ambiguous,omitzero"`
}

// ids returns the ids of all, in their order.
func (l *left) ids() (ids []int64, err error) {
	if l == nil {
		return nil, nil
	}
	for _, packed := range l.Refused {
		some, err := unpackIDs(packed)
		if err != nil {
			return nil, err
		}
		ids = append(ids, some...)
	}
	slices.Sort(ids)
	return ids, nil
}

// times returns how many jobs have refused an event before, by its id.
func (l *left) times() (map[int64]int, error) {
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

// leaving collects what a job leaves to the next one.
type leaving struct {
	ids       [maxRefused - 1][]int64
	ambiguous bool
}

// add adds an event that so many jobs have refused.
func (l *leaving) add(id int64, times int, ambiguous bool) {
	l.ids[times-1] = append(l.ids[times-1], id)
	l.ambiguous = l.ambiguous || ambiguous
}

// left returns what a job leaves, nil for nothing.
func (l *leaving) left(j *job) *left {
	all := &left{}
	events := 0
	for k, ids := range l.ids {
		all.Refused[k] = packIDs(ids)
		events += len(ids)
	}
	if events == 0 {
		return nil
	}
	if before := j.state.Before; before != nil {
		all.Ambiguous = before.Ambiguous
	}
	if l.ambiguous {
		all.Ambiguous = earlier(all.Ambiguous, earlier(j.state.Ambiguous, j.state.Began))
	}
	return all
}

// earlier returns the earlier of two times, of which one may be zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// over reports whether SaaSquatch may have forgotten the keys that a job brought it
// then; a zero time is that of no job.
func (i *importing) over(ambiguous time.Time) bool {
	return !ambiguous.IsZero() && !i.Now().Before(ambiguous.Add(i.Horizon))
}

// expired gives up the events of a job that cannot be imported safely any more, and
// reports whether none is left of them.
func (i *importing) expired(ctx context.Context, j *job) (bool, error) {
	const detail = "a job may have imported it, and SaaSquatch may have forgotten its key by now"
	if i.over(j.state.Ambiguous) {
		return true, i.giveUp(ctx, j, mapping.ReasonHorizonOver, detail)
	}
	if j.state.Before == nil || !i.over(j.state.Before.Ambiguous) {
		return false, nil
	}
	before, err := j.state.Before.times()
	if err != nil {
		return false, err
	}
	return false, i.settleAll(ctx, j, func(_ int, event *adapter.Leased) (adapter.Step, bool) {
		return adapter.Step{
			Outcome: adapter.Dead, Reason: mapping.ReasonHorizonOver, Detail: detail,
			Counted: true, Ambiguous: true, Began: j.state.Began, At: i.Now(),
		}, before[event.ID] > 0
	})
}

// restLeft waits before a job that has nothing but what others have left: SaaSquatch
// wants fewer requests, or fails.
func (i *importing) restLeft(ctx context.Context, l *left) error {
	rest := i.Poll << 4
	if len(l.Refused[maxRefused-2]) > 0 {
		rest = i.Poll << 6
	}
	return i.rest(ctx, "another import job: SaaSquatch has refused records for the time being", min(rest, maxDoubtRest))
}

var errDamagedIDs = errors.New("its list of events is damaged")

// packIDs writes ids that grow: their differences, as unsigned varints.
func packIDs(ids []int64) []byte {
	var packed []byte
	last := int64(0)
	for _, id := range ids {
		packed = binary.AppendUvarint(packed, uint64(id-last))
		last = id
	}
	return packed
}

// unpackIDs reads what packIDs has written.
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

// damagedJob describes a job that cannot be read.
func damagedJob(number int, err error) error {
	return fmt.Errorf("read import job %d: %w", number, err)
}
