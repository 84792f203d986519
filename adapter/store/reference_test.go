package store_test

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// reference is what a store promises, in the plainest form: a list of events and
// a loop over it for every question. Whatever is done to a store is done to it as
// well, and both have to answer alike.
type reference struct {
	now func() time.Time
	// database is the clock by which leases end.
	database  func() time.Time
	retention store.Retention
	// leaseFor is the length of a lease, 0 if it ends with the process.
	leaseFor time.Duration
	// deadLetters bounds the payloads of rejected and dead events, 0 for no bound.
	deadLetters int64
	dropped     map[adapter.Outcome]int64
	// present are the tenants of the connections.
	present  map[string]string
	events   []*known // by id
	process  int      // number of the present one
	accepted map[string]int64
	totals   map[string]map[adapter.Outcome]int64
	removed  map[string]map[adapter.Outcome]int64
}

// known is an event in the reference.
type known struct {
	adapter.Delivery
	// identity tells it from others of the tenant, the zero value if nothing does.
	identity  identity
	payload   []byte // nil once it is dropped
	keepUntil time.Time
	due       time.Time
	failed    int
	redriven  bool
	ambiguous time.Time
	sending   bool
	// interrupted is set if the present lease found the event marked.
	interrupted bool
	lease       int64 // token of the process that has it in hand, 0 if none has
	until       time.Time
	process     int // of the lease
	// upsert is what is known of the upsert of a user, nil for another event.
	upsert *upsert
	alone  bool
}

// upsert tells how often an upsert was tried, and whether a newer one supersedes it.
type upsert struct {
	tries      int
	superseded bool
}

func upsertFor(eventKey string) *upsert {
	if eventKey != adapter.UpsertEventKey {
		return nil
	}
	return &upsert{}
}

// holds reports whether the event keeps back later ones while it is pending.
func (e *known) holds() bool {
	return e.upsert != nil && !e.upsert.superseded && e.upsert.tries < adapter.MaxHoldingTries
}

// goesBefore reports whether the event is an earlier one of the user of another, and pending.
func (e *known) goesBefore(other *known) bool {
	return e.Outcome == adapter.Pending && e.Connection == other.Connection && e.Tenant == other.Tenant &&
		e.UserID == other.UserID && e.AccountID == other.AccountID && e.ID < other.ID
}

// identity is of an event with a messageId; keyed ones have no hash.
type identity struct {
	messageID string
	hash      int64
}

func (i identity) keyed() bool { return i.messageID != "" && i.hash == 0 }

func identityOf(messageID string, keyed bool, hash int64) identity {
	switch {
	case messageID == "":
		return identity{}
	case keyed:
		return identity{messageID, 0}
	default:
		return identity{messageID, hash}
	}
}

func newReference(now, database func() time.Time, retention store.Retention, deadLetters int64,
	leaseFor time.Duration) *reference {
	return &reference{now: now, database: database, retention: retention, deadLetters: deadLetters, leaseFor: leaseFor,
		dropped: make(map[adapter.Outcome]int64), accepted: make(map[string]int64),
		totals: make(map[string]map[adapter.Outcome]int64), removed: make(map[string]map[adapter.Outcome]int64)}
}

func (r *reference) count(totals map[string]map[adapter.Outcome]int64, connection string, outcome adapter.Outcome,
	n int64) {
	if totals[connection] == nil {
		totals[connection] = make(map[adapter.Outcome]int64)
	}
	totals[connection][outcome] += n
}

// same returns why an event is a duplicate, or nothing.
func (r *reference) same(tenant string, id identity) (reason mapping.Reason) {
	if id == (identity{}) {
		return ""
	}
	for _, e := range r.events {
		if e.Tenant != tenant || e.identity != id {
			continue
		}
		switch e.Outcome {
		case adapter.Pending:
			return mapping.ReasonAlreadyAccepted
		case adapter.Delivered, adapter.Duplicate:
			reason = mapping.ReasonAlreadyDelivered
		}
	}
	return reason
}

// accept stores an arrival under the id that the store has given it.
func (r *reference) accept(connection, tenant string, id int64, a *adapter.Arrival) {
	now := r.now()
	e := &known{identity: identityOf(a.MessageID, a.Keyed, a.Identity), due: now}
	e.Delivery = adapter.Delivery{ID: id, Connection: connection, Tenant: tenant, MessageID: a.MessageID,
		UserID: a.UserID, AccountID: a.AccountID, Event: a.Event, EventKey: a.EventKey,
		Outcome: a.Outcome, Reason: a.Reason, Detail: a.Detail, ReceivedAt: now}
	e.payload = a.Payload
	if a.Outcome == adapter.Pending {
		e.Reason, e.Detail = mapping.ReasonAccepted, ""
		if reason := r.same(tenant, e.identity); reason != "" {
			e.Outcome, e.Reason, e.identity = adapter.Duplicate, reason, identity{}
		}
		e.upsert = upsertFor(a.EventKey)
	}
	if e.Outcome != adapter.Pending {
		e.SettledAt = &now
		r.settlePayload(e, now)
	}
	r.events = append(r.events, e)
	r.accepted[connection]++
	r.count(r.totals, connection, e.Outcome, 1)
}

// settlePayload decides what becomes of the payload of a settled event.
func (r *reference) settlePayload(e *known, at time.Time) {
	switch {
	case e.Outcome == adapter.Rejected && !r.hasRoom(e):
		e.drop(r)
	case e.Outcome == adapter.Dead || e.Outcome == adapter.Rejected:
		e.keepUntil = time.Time{}
	case r.retention.Payloads > 0:
		e.keepUntil = at.Add(r.retention.Payloads)
	default:
		e.payload = nil
	}
}

// kept is how large the payloads of events with the outcome are.
func (r *reference) kept(outcome adapter.Outcome) (bytes int64) {
	for _, e := range r.events {
		if e.Outcome == outcome {
			bytes += int64(len(e.payload))
		}
	}
	return bytes
}

// hasRoom reports whether the payload of a rejected event is kept.
func (r *reference) hasRoom(e *known) bool {
	dead, rejected := r.kept(adapter.Dead), r.kept(adapter.Rejected)
	if slices.Contains(r.events, e) {
		rejected -= int64(len(e.payload))
	}
	return r.deadLetters == 0 || dead+int64(len(e.payload)) <= r.deadLetters &&
		dead+rejected <= r.deadLetters+r.deadLetters/8
}

func (e *known) drop(r *reference) {
	e.payload, e.PayloadDropped = nil, true
	r.dropped[e.Outcome]++
}

// trim drops payloads of rejected events, and then of dead ones, the oldest first.
func (r *reference) trim() {
	if r.deadLetters == 0 {
		return
	}
	excess := r.kept(adapter.Rejected) + r.kept(adapter.Dead) - r.deadLetters
	if excess <= 0 {
		return
	}
	slack := r.deadLetters / store.TrimSlack
	for _, outcome := range []adapter.Outcome{adapter.Rejected, adapter.Dead} {
		for _, e := range r.events {
			if e.Outcome == outcome && e.payload != nil && excess+slack > 0 {
				excess -= int64(len(e.payload))
				e.drop(r)
			}
		}
		slack = 0
	}
}

// lease returns the events to hand out.
func (r *reference) lease(connection string, limit int, maxBytes int64) (leased []*known) {
	var list []*known
	for _, e := range r.events {
		due := r.over(e) || e.lease == 0 && !e.due.After(r.now())
		if due && e.Connection == connection && e.Tenant == r.present[connection] && e.Outcome == adapter.Pending {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *known) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.ID, b.ID)) })
	for _, e := range list {
		if len(leased) == limit || maxBytes <= 0 {
			break
		}
		if h := r.keptBackBy(e, leased); h != nil {
			soonest := r.now()
			if e.lease != 0 {
				soonest = r.database()
			}
			if e.due = soonest.Add(2 * time.Second); h.due.After(e.due) {
				e.due = h.due
			}
			continue
		}
		maxBytes -= int64(len(e.payload))
		leased = append(leased, e)
	}
	return leased
}

// keptBackBy returns the upsert that keeps back an event, nil if there is none. Leased are the events that precede it.
func (r *reference) keptBackBy(e *known, leased []*known) *known {
	if !e.ambiguous.IsZero() {
		return nil
	}
	for _, h := range r.events {
		inHand := h.lease != 0 && (r.leaseFor == 0 || h.process == r.process && h.until.After(r.database()))
		if h.goesBefore(e) && h.holds() && !inHand && !slices.Contains(leased, h) {
			return h
		}
	}
	return nil
}

// leaseParked returns the parked events to hand out.
func (r *reference) leaseParked(connection string, parked []adapter.Parked, maxBytes int64) (leased []*known) {
	for _, p := range parked {
		e := r.find(p.ID)
		if e == nil || e.Outcome != adapter.Pending || e.Connection != connection ||
			e.Tenant != r.present[connection] ||
			e.lease != 0 || e.due.UnixMilli() != p.Due.UnixMilli() || maxBytes <= 0 {
			continue
		}
		if r.keptBackBy(e, leased) != nil {
			continue
		}
		maxBytes -= int64(len(e.payload))
		leased = append(leased, e)
	}
	return leased
}

// handed notes that the store has leased the event.
func (r *reference) handed(e *known, token int64) {
	e.lease, e.process, e.interrupted = token, r.process, e.sending
	if r.leaseFor > 0 {
		e.until = r.database().Add(r.leaseFor)
		if e.due.After(r.database()) && !e.due.After(r.now()) {
			e.due = r.database()
		}
	}
}

// over reports whether the event has a lease that is over.
func (r *reference) over(e *known) bool {
	return r.leaseFor > 0 && e.lease != 0 && !e.until.After(r.database()) && !e.due.After(r.database())
}

// find returns the event, nil if it is no more.
func (r *reference) find(id int64) *known {
	i, ok := slices.BinarySearchFunc(r.events, id, func(e *known, id int64) int { return cmp.Compare(e.ID, id) })
	if !ok {
		return nil
	}
	return r.events[i]
}

// inHand returns the event if the lease holds still.
func (r *reference) inHand(id, token int64) *known {
	e := r.find(id)
	if e == nil || e.Outcome != adapter.Pending || e.lease != token {
		return nil
	}
	return e
}

// ofTenant returns the event if the lease holds still, and it has not been moved to
// another tenant since.
func (r *reference) ofTenant(id, token int64, tenant string) *known {
	e := r.inHand(id, token)
	if e == nil || e.Tenant != tenant {
		return nil
	}
	return e
}

// record takes a step and reports whether the lease was still held.
func (r *reference) record(id, token int64, tenant string, step *adapter.Step) bool {
	e := r.ofTenant(id, token, tenant)
	if e == nil {
		if e := r.inHand(id, token); e != nil {
			e.lease = 0
		}
		return false
	}
	e.lease, e.sending = 0, e.sending && e.interrupted && step.Began.IsZero()
	if step.EventKey != "" {
		e.EventKey = step.EventKey
	}
	began := step.Began
	if step.Counted {
		e.Attempts++
		e.failed++
		e.LastAttemptAt = &began
		if e.FirstAttemptAt == nil {
			e.FirstAttemptAt = &began
		}
	}
	if step.Ambiguous && e.ambiguous.IsZero() {
		e.ambiguous = began
	}
	e.Ambiguous = !e.ambiguous.IsZero()
	r.recordUpsert(e, step)
	failed := step.Outcome == adapter.Pending || step.Outcome == adapter.Dead
	if failed && step.Reason != "" && !began.IsZero() {
		e.History = append(e.History, adapter.Try{Number: len(e.History) + 1, At: began, Duration: step.At.Sub(began),
			Status: step.Status, Reason: step.Reason, Detail: step.Detail})
	}
	if step.Outcome == adapter.Pending {
		e.due = step.Due
		if step.Reason != "" {
			e.Reason, e.Detail, e.Status = step.Reason, step.Detail, step.Status
			e.alone = isUnclear(step.Reason)
		}
		return true
	}
	at := step.At
	e.SettledAt, e.Reason, e.Detail = &at, step.Reason, step.Detail
	if step.Status != 0 {
		e.Status = step.Status
	}
	r.move(e, step.Outcome)
	r.settlePayload(e, at)
	return true
}

// recordUpsert takes the part of a step that concerns the order of upserts.
func (r *reference) recordUpsert(e *known, step *adapter.Step) {
	switch {
	case step.Outcome == adapter.Pending && step.Upsert:
		if e.upsert == nil {
			e.upsert = &upsert{}
		}
		if !step.Began.IsZero() && !e.upsert.superseded {
			e.upsert.tries++
		}
	case step.Outcome == adapter.Pending && step.EventKey != "":
		if step.EventKey != adapter.UpsertEventKey {
			e.upsert = nil
		}
	case step.Upsert && (step.Outcome == adapter.Delivered || step.Outcome == adapter.Duplicate):
		for _, older := range r.events {
			if older.goesBefore(e) && older.upsert != nil && older.upsert.tries >= adapter.MaxHoldingTries {
				older.upsert.superseded = true
			}
		}
	}
}

// isUnclear reports whether an answer with the reason says nothing of the event.
func isUnclear(reason mapping.Reason) bool {
	return reason == mapping.ReasonBulkUnclear || reason == mapping.ReasonUnexpectedAnswer
}

func (r *reference) move(e *known, outcome adapter.Outcome) {
	r.count(r.totals, e.Connection, e.Outcome, -1)
	r.count(r.totals, e.Connection, outcome, 1)
	e.Outcome = outcome
}

// mark marks an event as being sent and reports whether the lease was still held.
func (r *reference) mark(id, token int64, tenant string) bool {
	e := r.ofTenant(id, token, tenant)
	if e == nil {
		if e := r.inHand(id, token); e != nil {
			e.lease = 0
		}
		return false
	}
	e.sending = true
	return true
}

func (r *reference) release(id, token int64) {
	if e := r.inHand(id, token); e != nil {
		e.lease = 0
		if e.due.After(r.now()) {
			e.due = r.now()
		}
	}
}

func (r *reference) redrive(redeliveries []adapter.Redelivery) (done adapter.Redriven) {
	for i := range redeliveries {
		as := &redeliveries[i]
		e := r.find(as.ID)
		if e == nil || e.Outcome != adapter.Pending || as.Tenant != "" {
			continue
		}
		done.Pending++
		if e.due.After(r.now()) {
			e.due = r.now()
		}
	}
	again := slices.Clone(redeliveries)
	slices.SortFunc(again, func(a, b adapter.Redelivery) int { return cmp.Compare(a.ID, b.ID) })
	for i := range again {
		r.movePending(&again[i], &done)
	}
	for i := range again {
		as := &again[i]
		e := r.find(as.ID)
		if e == nil || e.Outcome != adapter.Dead && e.Outcome != adapter.Rejected || e.payload == nil {
			continue
		}
		now := r.now()
		if as.Tenant != "" {
			e.Tenant = as.Tenant
		}
		e.UserID, e.AccountID, e.EventKey = as.UserID, as.AccountID, as.EventKey
		if as.Event != "" {
			e.Event = as.Event
		}
		id := e.identity
		if e.identity = (identity{}); id == e.identity {
			id = identityOf(e.MessageID, as.Keyed, as.Identity)
		}
		if reason := r.same(e.Tenant, id); reason != "" {
			e.Reason, e.Detail, e.SettledAt = reason, "", &now
			r.move(e, adapter.Duplicate)
			r.settlePayload(e, now)
			done.Duplicate++
			continue
		}
		e.identity, e.due, e.SettledAt, e.FirstAttemptAt, e.failed, e.redriven = id, now, nil, nil, 0, true
		e.upsert, e.alone = upsertFor(as.EventKey), isUnclear(e.Reason)
		e.ambiguous, e.Ambiguous, e.sending = time.Time{}, false, false
		if e.Reason == "" {
			e.Reason = mapping.ReasonAccepted
		}
		r.move(e, adapter.Pending)
		done.Pending++
	}
	return done
}

// movePending has a pending event go to another tenant, unless a process has it in
// hand.
func (r *reference) movePending(as *adapter.Redelivery, done *adapter.Redriven) {
	e, now := r.find(as.ID), r.now()
	isLeased := r.leaseFor > 0 && e != nil && e.lease != 0 && e.until.After(r.database())
	if e == nil || e.Outcome != adapter.Pending || as.Tenant == "" || isLeased {
		return
	}
	if r.leaseFor > 0 {
		e.lease = 0
	}
	if e.Tenant == as.Tenant {
		done.Pending++
		return
	}
	reason := r.same(as.Tenant, e.identity)
	e.Tenant = as.Tenant
	if as.Event != "" {
		e.Event = as.Event
	}
	if reason != "" {
		e.UserID, e.AccountID = as.UserID, as.AccountID
		e.Reason, e.Detail, e.SettledAt, e.identity = reason, "", &now, identity{}
		r.move(e, adapter.Duplicate)
		r.settlePayload(e, now)
		done.Duplicate++
		return
	}
	e.due, e.failed, e.redriven, e.FirstAttemptAt = now, 0, true, nil
	if e.upsert != nil {
		e.upsert = &upsert{}
	}
	e.ambiguous, e.Ambiguous, e.sending = time.Time{}, false, false
	done.Pending++
}

func (r *reference) purge(ids []int64, outcomes []adapter.Outcome) (n int) {
	for _, id := range ids {
		if e := r.find(id); e != nil && (len(outcomes) == 0 || slices.Contains(outcomes, e.Outcome)) {
			if e.Outcome == adapter.Pending {
				r.move(e, adapter.Dead)
			}
			r.remove(e)
			n++
		}
	}
	return n
}

func (r *reference) remove(gone *known) {
	r.count(r.removed, gone.Connection, gone.Outcome, 1)
	r.events = slices.DeleteFunc(r.events, func(e *known) bool { return e == gone })
}

func (r *reference) retain() {
	for _, e := range slices.Clone(r.events) {
		if e.Outcome == adapter.Pending {
			continue
		}
		if !e.keepUntil.IsZero() && !e.keepUntil.After(r.now()) {
			e.payload = nil
		}
		keep := r.retention.Ledger
		if e.Outcome == adapter.Dead || e.Outcome == adapter.Rejected {
			keep = r.retention.Dead
		}
		if keep > 0 && r.now().Sub(*e.SettledAt) > keep {
			r.remove(e)
		}
	}
}

// restart ends the process. What it had in hand comes back.
func (r *reference) restart() {
	r.process++
	if r.leaseFor > 0 {
		return // when the leases end
	}
	for _, e := range r.events {
		e.lease = 0
	}
}

// balance returns the totals of every connection, and what has been removed.
func (r *reference) balance() (balances []adapter.Conservation) {
	for connection, accepted := range r.accepted {
		b := adapter.Conservation{Totals: adapter.Totals{Connection: connection, Accepted: accepted,
			Events: make(map[adapter.Outcome]int64)},
			Rows: make(map[adapter.Outcome]int64), Removed: make(map[adapter.Outcome]int64), Faults: []string{}}
		b.PayloadBytes = map[adapter.Outcome]int64{adapter.Rejected: 0, adapter.Dead: 0}
		for _, outcome := range adapter.Outcomes {
			b.Events[outcome], b.Removed[outcome], b.Rows[outcome] = r.totals[connection][outcome],
				r.removed[connection][outcome], 0
		}
		for _, e := range r.events {
			if e.Connection == connection {
				b.Rows[e.Outcome]++
				if _, ok := b.PayloadBytes[e.Outcome]; ok {
					b.PayloadBytes[e.Outcome] += int64(len(e.payload))
				}
			}
		}
		balances = append(balances, b)
	}
	slices.SortFunc(balances, func(a, b adapter.Conservation) int {
		return strings.Compare(a.Connection,
			b.Connection)
	})
	return balances
}

// backlog returns the pending events of every connection.
func (r *reference) backlog() (backlogs []adapter.Backlog) {
	for _, balance := range r.balance() {
		b := adapter.Backlog{Connection: balance.Connection}
		for _, e := range r.events {
			if e.Connection != b.Connection || e.Outcome != adapter.Pending {
				continue
			}
			b.Events++
			if e.Tenant != r.present[b.Connection] {
				b.Held = hold(b.Held, e.Tenant)
			} else if b.Oldest.IsZero() {
				b.Oldest = e.ReceivedAt
			}
			b.Bytes += int64(len(e.payload))
		}
		backlogs = append(backlogs, b)
	}
	return backlogs
}

// hold counts an event of a former tenant.
func hold(list []adapter.Held, tenant string) []adapter.Held {
	i, ok := slices.BinarySearchFunc(list, tenant, func(h adapter.Held,
		tenant string) int {
		return strings.Compare(h.Tenant, tenant)
	})
	if !ok {
		list = slices.Insert(list, i, adapter.Held{Tenant: tenant, Reason: mapping.ReasonTenantChanged})
	}
	list[i].Events++
	return list
}
