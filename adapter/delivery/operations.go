package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Operations are the operators' actions on the deliveries of a store. It implements
// [adapter.Operations].
type Operations struct {
	store   adapter.DeliveryStore
	mappers map[string]Mapper
	tenants map[string]string

	// runs says whether a run goes by import jobs, which never changes, for the runs looked up so
	// far.
	mu   sync.Mutex
	runs map[int64]bool
}

var _ adapter.Operations = (*Operations)(nil)

// NewOperations returns the operations on store. The mappers of the connections map redriven
// events. The tenants are the names of the connections' tenants, empty if unknown: then nothing is
// redriven.
func NewOperations[M Mapper](store adapter.DeliveryStore, mappers map[string]M,
	tenants map[string]string) *Operations {
	o := &Operations{store: store, mappers: make(map[string]Mapper, len(mappers)), tenants: tenants,
		runs: make(map[int64]bool)}
	for connection, mapper := range mappers {
		o.mappers[connection] = mapper
	}
	return o
}

// List implements [adapter.Operations].
func (o *Operations) List(ctx context.Context, filter adapter.Filter, limit int) ([]adapter.Delivery, error) {
	return o.store.Find(ctx, filter, limit)
}

// Scans implements [adapter.Operations].
func (o *Operations) Scans(ctx context.Context, filter adapter.Filter) (adapter.Scan, error) {
	return o.store.Scans(ctx, filter)
}

// Show implements [adapter.Operations].
func (o *Operations) Show(ctx context.Context, id int64) (*adapter.Delivery, error) {
	delivery, err := o.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	delivery.SetPayload(adapter.StoredPayload{Bytes: delivery.Payload, Damaged: delivery.PayloadDamaged})
	return delivery, nil
}

// Stats implements [adapter.Operations].
func (o *Operations) Stats(ctx context.Context, filter adapter.Filter) (*adapter.Stats, error) {
	var stats adapter.Stats
	var errs [3]error
	stats.Deliveries, errs[0] = o.store.Summarize(ctx, filter)
	stats.Totals, errs[1] = o.store.Totals(ctx)
	stats.Backlog, errs[2] = o.store.Backlog(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	// An empty list is an empty array in JSON, which scripts can loop over.
	stats.Deliveries, stats.Totals, stats.Backlog = orEmpty(stats.Deliveries), orEmpty(stats.Totals),
		orEmpty(stats.Backlog)
	return &stats, nil
}

// Verify implements [adapter.Operations].
func (o *Operations) Verify(ctx context.Context) ([]adapter.Conservation, error) {
	verified, err := o.store.Verify(ctx)
	return orEmpty(verified), err
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// pageSize is how many deliveries an operation has in memory.
const pageSize = 500

// pages calls fn with the deliveries that the filter picks, a page at a time, newest first.
func (o *Operations) pages(ctx context.Context, filter adapter.Filter, limit int,
	fn func([]adapter.Delivery) error) (err error) {
	if !filter.Since.IsZero() || !filter.Until.IsZero() {
		if filter, err = o.store.Bound(ctx, filter); err != nil {
			return err
		}
	}
	for done := 0; limit == 0 || done < limit; {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-done)
		}
		page, err := o.store.Find(ctx, filter, size)
		if done > 0 && errors.As(err, new(*adapter.BusyError)) {
			continue // an operation that has begun waits for its turn
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

// Redrive implements [adapter.Operations].
func (o *Operations) Redrive(
	ctx context.Context, filter adapter.Filter, limit int, toTenant string, dry bool,
) (*adapter.Redrive, error) {
	if err := o.checkTenants(filter.Connection, toTenant); err != nil {
		return nil, err
	}
	filter = filter.ForRedrive(toTenant)
	for _, outcome := range filter.Outcomes {
		switch outcome {
		case adapter.Dead, adapter.Rejected, adapter.Pending:
		case adapter.Skipped:
			return nil, &adapter.RefusedError{Problem: "skipped events cannot be redriven: their payloads are not " +
				"kept; send them again from the Segment archive"}
		default:
			return nil, &adapter.RefusedError{Problem: fmt.Sprintf(
				"%s events cannot be redriven: SaaSquatch has them, and would count them twice", outcome)}
		}
	}
	done := &adapter.Redrive{Unsendable: make(map[mapping.Reason]int)}
	err := o.pages(ctx, filter, limit, func(page []adapter.Delivery) error {
		redeliveries, err := o.plan(ctx, page, toTenant, done)
		if err != nil {
			return err
		}
		done.Before = page[len(page)-1].ID
		if dry {
			done.Sent += len(redeliveries)
			return nil
		}
		redriven, err := o.store.Redrive(ctx, redeliveries)
		done.Sent += redriven.Pending
		done.Duplicate += redriven.Duplicate
		if err == nil && toTenant != "" {
			done.InHand += len(redeliveries) - redriven.Pending - redriven.Duplicate
		}
		return err
	})
	return done, err
}

// imported reports whether a run goes by import jobs.
func (o *Operations) imported(ctx context.Context, id int64) (bool, error) {
	if id == 0 {
		return false, nil
	}
	o.mu.Lock()
	answer, ok := o.runs[id]
	o.mu.Unlock()
	if ok {
		return answer, nil
	}
	run, _, err := o.store.Run(ctx, id)
	if err != nil && !errors.Is(err, adapter.ErrNoRun) {
		return false, err
	}
	answer = err == nil && run.Imported()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs[id] = answer
	return answer, nil
}

// checkTenants refuses a redrive if the tenants of the connections are unknown, and a redrive to a
// tenant that no connection has: a typo must not send events elsewhere.
func (o *Operations) checkTenants(connection, toTenant string) error {
	var present []string
	found := toTenant == ""
	for _, name := range slices.Sorted(maps.Keys(o.mappers)) {
		if connection != "" && name != connection {
			continue
		}
		if o.tenants[name] == "" {
			return &adapter.RefusedError{Problem: fmt.Sprintf("the tenant of connection %s is not configured, "+
				"so it is unknown which events are its own: set saasquatch.tenant_alias (SAASQUATCH_TENANT_ALIAS) "+
				"as for the server", name)}
		}
		alias := adapter.TenantAlias(o.tenants[name])
		present = append(present, fmt.Sprintf("%s has %s", name, alias))
		found = found || alias == toTenant
	}
	if found {
		return nil
	}
	if len(present) == 0 {
		present = []string{"none is configured"}
	}
	return &adapter.RefusedError{Problem: fmt.Sprintf(
		"no connection has the tenant %.60q to which the events are to go: "+
			"name the alias of one that a connection has (%s)", toTenant, strings.Join(present, ", "))}
}

// plan maps a page of deliveries with today's rules and returns the deliveries to send.
func (o *Operations) plan(
	ctx context.Context, page []adapter.Delivery, toTenant string, done *adapter.Redrive,
) ([]adapter.Redelivery, error) {
	var redeliveries []adapter.Redelivery
	err := o.withPayloads(ctx, page, func(delivery *adapter.Delivery, payload adapter.StoredPayload) error {
		done.Matched++
		mapper, tenant := o.mappers[delivery.Connection], o.tenants[delivery.Connection]
		isFormer := delivery.Tenant != tenant
		switch {
		case mapper == nil:
			done.NoConnection++
			return nil
		case isFormer && adapter.TenantAlias(tenant) != toTenant:
			done.OtherTenant.Add(adapter.TenantMove{Connection: delivery.Connection, From: delivery.Tenant, To: tenant,
				Events: 1})
			return nil
		case isFormer && delivery.Outcome == adapter.Pending && delivery.DueAt == nil:
			done.Held++
			return nil
		case payload.Bytes == nil:
			done.NoPayload++
			return nil
		case payload.Damaged:
			done.Damaged++
			return nil
		}
		// A panic is not reported here: the event stays as it is, and the map command shows the
		// panic.
		mapped := mapOne(mapper, payload.Bytes, mapTime(delivery.ReceivedAt, delivery.Run),
			mapping.Options{Done: ctx.Done()}, func(any, []byte) {})
		switch mapped.Kind {
		case mapping.KindUserEvent, mapping.KindUserUpsert:
		case mapping.KindUnfinished:
			return ctx.Err()
		case 0:
			done.Unsendable[mapping.ReasonInternalError]++
			return nil
		default:
			done.Unsendable[mapped.Reason]++
			return nil
		}
		imported, err := o.imported(ctx, delivery.Run)
		switch {
		case err != nil:
			return err
		case imported && delivery.Outcome == adapter.Pending && delivery.DueAt == nil:
			done.Held++
			return nil
		case imported:
			done.FiresPrograms++
		}
		result := resultOf(0, &mapped)
		arrival := arrivalOf(nil, &mapped, &result)
		if isFormer {
			done.Moved.Add(adapter.TenantMove{Connection: delivery.Connection, From: delivery.Tenant, To: tenant,
				Events: 1})
		} else {
			tenant = "" // the delivery has it already
		}
		redeliveries = append(redeliveries, adapter.Redelivery{
			ID: delivery.ID, Tenant: tenant, UserID: arrival.UserID, AccountID: arrival.AccountID,
			EventKey: arrival.EventKey, Event: arrival.Event, Keyed: arrival.Keyed,
			Identity: arrival.Identity, Fingerprint: arrival.Fingerprint, Bytes: len(payload.Bytes),
		})
		return nil
	})
	return redeliveries, err
}

// payloadPage is how many payloads an operation has in memory. The largest are as large as a
// request.
const payloadPage = 20

// withPayloads calls fn with each delivery and its payload, which has no bytes if the store has
// none.
func (o *Operations) withPayloads(ctx context.Context, page []adapter.Delivery,
	fn func(*adapter.Delivery, adapter.StoredPayload) error) error {
	for part := range slices.Chunk(page, payloadPage) {
		payloads, err := o.store.Payloads(ctx, idsOf(part))
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

func idsOf(deliveries []adapter.Delivery) []int64 {
	ids := make([]int64, len(deliveries))
	for i := range deliveries {
		ids[i] = deliveries[i].ID
	}
	return ids
}

// Purge implements [adapter.Operations].
func (o *Operations) Purge(ctx context.Context, filter adapter.Filter, limit int, dry bool) (*adapter.Purge, error) {
	if filter.PicksAll() {
		return nil, &adapter.RefusedError{Problem: "a purge needs a filter: say what to delete, such as the outcome"}
	}
	done, total := &adapter.Purge{Purged: make(map[adapter.Outcome]int)}, 0
	err := o.pages(ctx, filter, limit, func(page []adapter.Delivery) error {
		// By outcome, so that a delivery with another outcome by now is passed over: it may have
		// been redriven.
		byOutcome := make(map[adapter.Outcome][]int64)
		for i := range page {
			byOutcome[page[i].Outcome] = append(byOutcome[page[i].Outcome], page[i].ID)
		}
		for _, outcome := range adapter.Outcomes {
			ids := byOutcome[outcome]
			n := len(ids)
			if n == 0 {
				continue
			}
			if !dry {
				var err error
				if n, err = o.store.Purge(ctx, ids, outcome); err != nil {
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

// Export implements [adapter.Operations].
func (o *Operations) Export(ctx context.Context, filter adapter.Filter, limit int,
	yield func(*adapter.Delivery) error) error {
	return o.pages(ctx, filter, limit, func(page []adapter.Delivery) error {
		return o.withPayloads(ctx, page, func(delivery *adapter.Delivery, payload adapter.StoredPayload) error {
			delivery.SetPayload(payload)
			return yield(delivery)
		})
	})
}
