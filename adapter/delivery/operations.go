package adapter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"segment-saasquatch/mapping"
)

// Operations are what operators can do with deliveries, beside the store or
// through a running server.
type Operations interface {
	// List returns the newest deliveries that the filter picks, newest first, at
	// most limit of them.
	List(ctx context.Context, filter Filter, limit int) ([]Delivery, error)
	// Scans says what it takes to find what the filter picks.
	Scans(ctx context.Context, filter Filter) (Scan, error)
	// Show returns one delivery with its history and payload, or [ErrNoDelivery].
	Show(ctx context.Context, id int64) (*Delivery, error)
	// Stats counts the deliveries that the filter picks, and reports the running
	// totals and the backlog of all. Without a filter it counts nothing: it has the
	// numbers of the totals, by connection and outcome.
	Stats(ctx context.Context, filter Filter) (*Stats, error)
	// Verify counts every delivery and holds the numbers against the totals.
	Verify(ctx context.Context) ([]Conservation, error)
	// Redrive makes at most limit deliveries pending again, all of them if limit is
	// 0. Without outcomes in the filter it takes dead and rejected ones; others
	// than those and pending ones it refuses with a [RefusedError]. It leaves those of
	// another tenant than their connection has now. With the alias of a present
	// tenant as toTenant it takes those alone, pending ones as well, and moves them to
	// that tenant. Dry, it changes nothing and says what it would do. An error leaves
	// what is redriven by then, and comes with how much that is, as far as it is known.
	Redrive(ctx context.Context, filter Filter, limit int, toTenant string, dry bool) (*Redrive, error)
	// Purge deletes at most limit deliveries, all of them if limit is 0, with all
	// that is known of them. It refuses an empty filter. Dry, it changes nothing.
	Purge(ctx context.Context, filter Filter, limit int, dry bool) (*Purge, error)
	// Export calls yield with at most limit deliveries, all of them if limit is 0,
	// with their payloads, newest first. It ends with the first error of yield.
	Export(ctx context.Context, filter Filter, limit int, yield func(*Delivery) error) error
}

// Stats are numbers of deliveries.
type Stats struct {
	Deliveries []Summary `json:"deliveries"`
	Totals     []Totals  `json:"totals"`
	Backlog    []Backlog `json:"backlog"`
}

// Redrive is what a redrive did, or would do.
type Redrive struct {
	// Matched is how many deliveries the filter picks, as far as the limit goes.
	Matched int `json:"matched"`
	// Sent are pending now. Where nothing was changed it is those that would be.
	Sent int `json:"sent"`
	// Duplicate were found to be delivered already. Only known once it is done.
	Duplicate int `json:"duplicate"`
	// Unsendable are those that today's rules reject or skip, by reason; they are
	// left as they are.
	Unsendable map[Reason]int `json:"unsendable,omitempty"`
	// NoPayload are those whose payload is gone.
	NoPayload int `json:"no_payload"`
	// Damaged are those whose stored payload does not match its checksum.
	Damaged int `json:"damaged,omitempty"`
	// NoConnection are those of connections that are not configured any more.
	NoConnection int `json:"no_connection"`
	// Held are those that wait for an import job: their run has them sent when it is
	// resumed.
	Held int `json:"held"`
	// FiresPrograms are those to send that a replay by import jobs brought. A redrive
	// sends them one by one, for which SaaSquatch evaluates its programs and gives
	// rewards, whatever their age. The jobs leave programs alone unless asked otherwise.
	FiresPrograms int `json:"fires_programs"`
	// OtherTenant are those that were left since they are of another tenant than
	// their connection has now.
	OtherTenant []TenantMove `json:"other_tenant,omitempty"`
	// Moved are those that were sent to another tenant than they were accepted for, or
	// are duplicates there.
	Moved []TenantMove `json:"moved,omitempty"`
	// InHand are those that were not moved since a process has them in hand, or has
	// changed them meanwhile. Only known once it is done.
	InHand int `json:"in_hand,omitempty"`
	// Before is the lowest id that was looked at. A redrive with it in the filter goes on
	// with those below. 0 if the filter picked none.
	Before int64 `json:"before,omitempty"`
}

// Add adds what a redrive of further deliveries did.
func (r *Redrive) Add(more *Redrive) {
	r.Matched += more.Matched
	r.Sent += more.Sent
	r.Duplicate += more.Duplicate
	for reason, n := range more.Unsendable {
		if r.Unsendable == nil {
			r.Unsendable = make(map[Reason]int)
		}
		r.Unsendable[reason] += n
	}
	r.NoPayload += more.NoPayload
	r.Damaged += more.Damaged
	r.NoConnection += more.NoConnection
	r.Held += more.Held
	r.FiresPrograms += more.FiresPrograms
	for _, move := range more.OtherTenant {
		(*moves)(&r.OtherTenant).add(move)
	}
	for _, move := range more.Moved {
		(*moves)(&r.Moved).add(move)
	}
	r.InHand += more.InHand
	if more.Before > 0 {
		r.Before = more.Before
	}
}

// Purge is what a purge did, or would do.
type Purge struct {
	// Purged is how many deliveries were deleted, by the outcome they had.
	Purged map[Outcome]int `json:"purged"`
}

// RefusedError is an operation that is not carried out, with the remedy.
type RefusedError struct{ Problem string }

func (e *RefusedError) Error() string { return e.Problem }

// Deliveries are the operations on a DeliveryLog.
type Deliveries struct {
	log     DeliveryLog
	mappers map[string]Mapper
	tenants map[string]string

	// runs says of each run that was asked for whether it goes by import jobs, which never
	// changes.
	mu   sync.Mutex
	runs map[int64]bool
}

var _ Operations = (*Deliveries)(nil)

// NewDeliveries returns the operations on log. The mappers of the connections map
// what is redriven. The tenants are the names of those that the connections have,
// empty where that is not known; then nothing is redriven.
func NewDeliveries[M Mapper](log DeliveryLog, mappers map[string]M, tenants map[string]string) *Deliveries {
	d := &Deliveries{log: log, mappers: make(map[string]Mapper, len(mappers)), tenants: tenants, runs: make(map[int64]bool)}
	for connection, mapper := range mappers {
		d.mappers[connection] = mapper
	}
	return d
}

// List finds deliveries; see [Operations].
func (d *Deliveries) List(ctx context.Context, filter Filter, limit int) ([]Delivery, error) {
	return d.log.Find(ctx, filter, limit)
}

// Scans says what a filter takes; see [Operations].
func (d *Deliveries) Scans(ctx context.Context, filter Filter) (Scan, error) {
	return d.log.Scans(ctx, filter)
}

// Show returns one delivery; see [Operations].
func (d *Deliveries) Show(ctx context.Context, id int64) (*Delivery, error) {
	delivery, err := d.log.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	delivery.setPayload(StoredPayload{Bytes: delivery.Payload, Damaged: delivery.PayloadDamaged})
	return delivery, nil
}

// Stats counts deliveries; see [Operations].
func (d *Deliveries) Stats(ctx context.Context, filter Filter) (*Stats, error) {
	var stats Stats
	var errs [3]error
	stats.Deliveries, errs[0] = d.log.Summarize(ctx, filter)
	stats.Totals, errs[1] = d.log.Totals(ctx)
	stats.Backlog, errs[2] = d.log.Backlog(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	// Without any, their JSON is an empty array, which scripts can go through.
	stats.Deliveries, stats.Totals, stats.Backlog = orEmpty(stats.Deliveries), orEmpty(stats.Totals), orEmpty(stats.Backlog)
	return &stats, nil
}

// Verify checks the conservation of events; see [Operations].
func (d *Deliveries) Verify(ctx context.Context) ([]Conservation, error) {
	verified, err := d.log.Verify(ctx)
	return orEmpty(verified), err
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// pageSize is how many deliveries an operation has in hand.
const pageSize = 500

// pages calls fn with the deliveries that the filter picks, a page at a time,
// newest first.
func (d *Deliveries) pages(ctx context.Context, filter Filter, limit int, fn func([]Delivery) error) (err error) {
	if !filter.Since.IsZero() || !filter.Until.IsZero() {
		if filter, err = d.log.Bound(ctx, filter); err != nil {
			return err
		}
	}
	for done := 0; limit == 0 || done < limit; {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-done)
		}
		page, err := d.log.Find(ctx, filter, size)
		if done > 0 && errors.As(err, new(*BusyError)) {
			continue // what has begun waits for its turn
		}
		if err != nil || len(page) == 0 {
			return err
		}
		if err := fn(page); err != nil {
			return err
		}
		done += len(page)
		filter.Before = page[len(page)-1].ID
	}
	return nil
}

// Redrive makes deliveries pending again; see [Operations].
func (d *Deliveries) Redrive(
	ctx context.Context, filter Filter, limit int, toTenant string, dry bool,
) (*Redrive, error) {
	if err := d.checkTenants(filter.Connection, toTenant); err != nil {
		return nil, err
	}
	filter = filter.ForRedrive(toTenant)
	for _, outcome := range filter.Outcomes {
		switch outcome {
		case Dead, Rejected, Pending:
		case Skipped:
			return nil, &RefusedError{"skipped events cannot be redriven: their payloads are not kept; send them again from the Segment archive"}
		default:
			return nil, &RefusedError{fmt.Sprintf("%s events cannot be redriven: SaaSquatch has them, and would count them twice", outcome)}
		}
	}
	done := &Redrive{Unsendable: make(map[Reason]int)}
	err := d.pages(ctx, filter, limit, func(page []Delivery) error {
		redeliveries, err := d.plan(ctx, page, toTenant, done)
		if err != nil {
			return err
		}
		done.Before = page[len(page)-1].ID
		if dry {
			done.Sent += len(redeliveries)
			return nil
		}
		redriven, err := d.log.Redrive(ctx, redeliveries)
		done.Sent += redriven.Pending
		done.Duplicate += redriven.Duplicate
		if err == nil && toTenant != "" {
			done.InHand += len(redeliveries) - redriven.Pending - redriven.Duplicate
		}
		return err
	})
	return done, err
}

// ForRedrive returns the filter by which a redrive finds deliveries.
func (f Filter) ForRedrive(toTenant string) Filter {
	if len(f.Outcomes) == 0 {
		f.Outcomes = []Outcome{Dead, Rejected}
		if toTenant != "" {
			f.Outcomes = append(f.Outcomes, Pending)
		}
	}
	f.Former = f.Former || toTenant != ""
	return f
}

// imported reports whether a run goes by import jobs.
func (d *Deliveries) imported(ctx context.Context, id int64) (bool, error) {
	if id == 0 {
		return false, nil
	}
	d.mu.Lock()
	answer, ok := d.runs[id]
	d.mu.Unlock()
	if ok {
		return answer, nil
	}
	run, _, err := d.log.Run(ctx, id)
	if err != nil && !errors.Is(err, ErrNoRun) {
		return false, err
	}
	answer = err == nil && run.Imported()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs[id] = answer
	return answer, nil
}

// checkTenants refuses a redrive without the present tenants of the connections, and
// one to a tenant that no connection has: a typo must not send events elsewhere.
func (d *Deliveries) checkTenants(connection, toTenant string) error {
	var present []string
	found := toTenant == ""
	for _, name := range slices.Sorted(maps.Keys(d.mappers)) {
		if connection != "" && name != connection {
			continue
		}
		if d.tenants[name] == "" {
			return &RefusedError{fmt.Sprintf("the tenant of connection %s is not configured, "+
				"so it is unknown which events are its own: set saasquatch.tenant_alias (SAASQUATCH_TENANT_ALIAS) as for the server", name)}
		}
		alias := TenantAlias(d.tenants[name])
		present = append(present, fmt.Sprintf("%s has %s", name, alias))
		found = found || alias == toTenant
	}
	if found {
		return nil
	}
	if len(present) == 0 {
		present = []string{"none is configured"}
	}
	return &RefusedError{fmt.Sprintf("no connection has the tenant %.60q to which the events are to go: "+
		"name the alias of one that a connection has (%s)", toTenant, strings.Join(present, ", "))}
}

// plan maps a page of deliveries with today's rules and returns those to send.
func (d *Deliveries) plan(
	ctx context.Context, page []Delivery, toTenant string, done *Redrive,
) ([]Redelivery, error) {
	var redeliveries []Redelivery
	err := d.withPayloads(ctx, page, func(delivery *Delivery, payload StoredPayload) error {
		done.Matched++
		mapper, tenant := d.mappers[delivery.Connection], d.tenants[delivery.Connection]
		isFormer := delivery.Tenant != tenant
		switch {
		case mapper == nil:
			done.NoConnection++
			return nil
		case isFormer && TenantAlias(tenant) != toTenant:
			(*moves)(&done.OtherTenant).add(TenantMove{Connection: delivery.Connection, From: delivery.Tenant, To: tenant, Events: 1})
			return nil
		case isFormer && delivery.Outcome == Pending && delivery.DueAt == nil:
			done.Held++
			return nil
		case payload.Bytes == nil:
			done.NoPayload++
			return nil
		case payload.Damaged:
			done.Damaged++
			return nil
		}
		// A panic goes unreported here: the event is left as it is, and the map
		// command shows it.
		mapped := mapOne(mapper, payload.Bytes, mapTime(delivery.ReceivedAt, delivery.Run),
			mapping.Options{Done: ctx.Done()}, func(any, []byte) {})
		switch mapped.Kind {
		case mapping.KindUserEvent, mapping.KindUserUpsert:
		case mapping.KindUnfinished:
			return ctx.Err()
		case 0:
			done.Unsendable[ReasonInternalError]++
			return nil
		default:
			done.Unsendable[Reason(mapped.Reason)]++
			return nil
		}
		imported, err := d.imported(ctx, delivery.Run)
		switch {
		case err != nil:
			return err
		case imported && delivery.Outcome == Pending && delivery.DueAt == nil:
			done.Held++
			return nil
		case imported:
			done.FiresPrograms++
		}
		result := resultOf(0, &mapped)
		arrival := arrivalOf(nil, &mapped, &result)
		if isFormer {
			(*moves)(&done.Moved).add(TenantMove{Connection: delivery.Connection, From: delivery.Tenant, To: tenant, Events: 1})
		} else {
			tenant = "" // it has that already
		}
		redeliveries = append(redeliveries, Redelivery{
			ID: delivery.ID, Tenant: tenant, UserID: arrival.UserID, AccountID: arrival.AccountID, EventKey: arrival.EventKey,
			Event: arrival.Event, Keyed: arrival.Keyed, Identity: arrival.Identity, Fingerprint: arrival.Fingerprint,
			Bytes: len(payload.Bytes),
		})
		return nil
	})
	return redeliveries, err
}

// payloadPage is how many payloads an operation has in hand; the largest are as
// large as a request.
const payloadPage = 20

// withPayloads calls fn with each delivery and its payload, without bytes if it is not
// kept.
func (d *Deliveries) withPayloads(ctx context.Context, page []Delivery, fn func(*Delivery, StoredPayload) error) error {
	for part := range slices.Chunk(page, payloadPage) {
		payloads, err := d.log.Payloads(ctx, idsOf(part))
		if err != nil {
			return err
		}
		for i := range part {
			payload, kept := payloads[part[i].ID]
			if kept && payload.Bytes == nil {
				payload.Bytes = []byte{}
			}
			if err := fn(&part[i], payload); err != nil {
				return err
			}
		}
	}
	return nil
}

func idsOf(deliveries []Delivery) []int64 {
	ids := make([]int64, len(deliveries))
	for i := range deliveries {
		ids[i] = deliveries[i].ID
	}
	return ids
}

// Purge deletes deliveries; see [Operations].
func (d *Deliveries) Purge(ctx context.Context, filter Filter, limit int, dry bool) (*Purge, error) {
	if filter.PicksAll() {
		return nil, &RefusedError{"a purge needs a filter: say what to delete, such as the outcome"}
	}
	done, total := &Purge{Purged: make(map[Outcome]int)}, 0
	err := d.pages(ctx, filter, limit, func(page []Delivery) error {
		// By outcome, so that one that has another by now is passed over: it may have
		// been redriven.
		byOutcome := make(map[Outcome][]int64)
		for i := range page {
			byOutcome[page[i].Outcome] = append(byOutcome[page[i].Outcome], page[i].ID)
		}
		for _, outcome := range Outcomes {
			ids := byOutcome[outcome]
			n := len(ids)
			if n == 0 {
				continue
			}
			if !dry {
				var err error
				if n, err = d.log.Purge(ctx, ids, outcome); err != nil {
					return err
				}
			}
			done.Purged[outcome] += n
			total += n
		}
		return nil
	})
	if err != nil && !dry {
		err = fmt.Errorf("after %d deliveries were purged: %w", total, err)
	}
	return done, err
}

// PicksAll reports whether the filter says nothing.
func (f *Filter) PicksAll() bool {
	return f.IDs == nil && f.Connection == "" && len(f.Outcomes) == 0 && f.Reason == "" && f.Event == "" && f.EventKey == "" && f.UserID == "" &&
		f.MessageID == "" && f.Run == 0 && f.Tenant == "" && !f.Former && f.Since.IsZero() && f.Until.IsZero() && f.Before == 0 && f.After == 0
}

// Export yields deliveries with their payloads; see [Operations].
func (d *Deliveries) Export(ctx context.Context, filter Filter, limit int, yield func(*Delivery) error) error {
	return d.pages(ctx, filter, limit, func(page []Delivery) error {
		return d.withPayloads(ctx, page, func(delivery *Delivery, payload StoredPayload) error {
			delivery.setPayload(payload)
			return yield(delivery)
		})
	})
}
