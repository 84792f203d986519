package store

import (
	"strconv"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// An upsert keeps back the later events of its user while it waits. The column holds of the queue says how often it
// was tried; see [adapter.Queue.Lease].
//
// A lease takes due events in the order of due times and ids. It leaves out an event if the queue has an upsert of
// the same connection, tenant, user and account with a smaller id that holds, unless the process has the upsert in
// hand, the upsert precedes the event in the lease, or the event has an ambiguous attempt. It makes an event that it
// leaves out due when the first such upsert is due, and no earlier than keepBackFor from now. Parked events keep
// their due times. A lease looks at no event after the one that fills it.

// keepBackFor is how long a lease leaves alone an event that an upsert keeps back.
const keepBackFor = 2 * time.Second

const (
	// superseded is in the column holds of an upsert that must not be sent.
	superseded = -1
	// noUpsert means that the event is no upsert under today's rules; see recording.tries.
	noUpsert = -1
)

// holdsText is the condition for an upsert that keeps back later events, and overdueText the one for an upsert that a
// newer one supersedes. They begin with the name of the column.
var (
	holdsText   = `holds BETWEEN 0 AND ` + strconv.Itoa(adapter.MaxHoldingTries-1)
	overdueText = `holds >= ` + strconv.Itoa(adapter.MaxHoldingTries)
)

// holdsAgain is the value of the column holds for a delivery that a redrive puts into the queue as the row r.
const holdsAgain = `CASE WHEN r.event_key = '` + adapter.UpsertEventKey + `' THEN 0 END`

// holds returns the value of the column for a new event.
func (a *acceptance) holds(arrival *adapter.Arrival) any {
	isUpsert := arrival.EventKey == adapter.UpsertEventKey && arrival.Outcome == adapter.Pending
	if !isUpsert || a.run != nil && a.batch.Held {
		return nil
	}
	return int64(0)
}

// tries returns what a step that puts back its event adds to the column holds, which stays superseded. It returns nil
// if the column stays as it is, and noUpsert if it becomes null.
func (r *recording) tries() any {
	switch key := r.step.EventKey; {
	case r.step.Upsert && !r.step.Began.IsZero():
		return int64(1)
	case r.step.Upsert:
		return int64(0)
	case key != "" && key != adapter.UpsertEventKey:
		return int64(noUpsert)
	default:
		return nil
	}
}

// supersedes reports whether the step supersedes older upserts of the user.
func (r *recording) supersedes() bool {
	return r.step.Upsert && (r.step.Outcome == adapter.Delivered || r.step.Outcome == adapter.Duplicate)
}

// mustGoAlone reports whether the reason of a pending event tells that its next attempt must be a call of its own.
func mustGoAlone(reason string) bool {
	return reason == string(mapping.ReasonBulkUnclear) || reason == string(mapping.ReasonUnexpectedAnswer)
}
