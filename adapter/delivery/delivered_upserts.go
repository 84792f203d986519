package delivery

import "segment-saasquatch/adapter"

// deliveredUpserts are upserts that were delivered, until a lease knows about them. An older upsert of
// the user that no longer keeps back later events must not be sent then. The record of a delivery is
// behind its attempt, so a lease may have brought the older upsert before the record.
//
// The hole: another process may have the older upsert in hand.
type deliveredUpserts struct {
	newest   map[user]int64 // the ids
	recorded []deliveredUpsert
}

type deliveredUpsert struct {
	of user
	id int64
}

// supersedes reports whether a newer upsert than the event was delivered, and the event is an upsert
// that it supersedes.
func (u *deliveredUpserts) supersedes(of user, event *adapter.Leased) bool {
	return event.Tries >= adapter.MaxHoldingTries && event.ID < u.newest[of]
}

// upserted notes that the upsert in front of a queue was delivered.
func (l *userQueues) upserted(q *userQueue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.upserts.newest[q.user] = max(q.events[0].ID, l.upserts.newest[q.user])
	for _, event := range q.events[1:] {
		event.Superseded = event.Superseded || l.upserts.supersedes(q.user, event)
	}
}

// upsertRecorded notes that the delivery of an upsert is recorded, or will not be.
func (l *userQueues) upsertRecorded(event *adapter.Leased) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.upserts.recorded = append(l.upserts.recorded, deliveredUpsert{queueOf(event), event.ID})
}

// beginLease forgets the upserts that were recorded before a lease, which knows about them.
func (l *userQueues) beginLease() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, upsert := range l.upserts.recorded {
		if l.upserts.newest[upsert.of] == upsert.id {
			delete(l.upserts.newest, upsert.of)
		}
	}
	l.upserts.recorded = l.upserts.recorded[:0]
}
