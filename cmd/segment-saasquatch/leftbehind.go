package main

import (
	"context"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

// lookForOthers warns of events that another configuration has stored, and that this one neither sends nor
// recognises. It runs in the background, because counting can take long.
func (s *service) lookForOthers(d *delivering) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := d.stop
	d.stop = func() { cancel(); stop() }
	d.looking.Go(func() {
		s.warnOfFile(ctx)
		if d.store != nil && s.sandbox == nil { // each sandbox has another address
			s.warnOfHosts(ctx, d)
		}
	})
}

// warnOfFile warns of an SQLite store in the data directory that is not in use.
func (s *service) warnOfFile(ctx context.Context) {
	if s.cfg.Delivery == config.DeliveryDurable && s.cfg.Store.IsZero() {
		return
	}
	path := filepath.Join(s.cfg.DataDir, storeFile)
	if _, err := os.Stat(path); err != nil {
		return // there is none
	}
	pending, settled, err := store.CountFile(ctx, path)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Warn("a store in the data directory is not used, and cannot be read",
			zap.String("file", path), zap.Error(err))
	case pending+settled > 0:
		remedy := "if it was copied already, put the file aside; else stop the server and use store copy: " +
			"then its pending events are sent, and its delivered events are recognised"
		if s.cfg.Delivery == config.DeliveryDirect {
			remedy = "set delivery to durable until its pending events are sent, or put the file aside"
		}
		s.log.Warn("a store in the data directory is not used", zap.String("file", path),
			zap.Int64("pending", pending), zap.Int64("settled", settled), zap.String("remedy", remedy))
	}
}

// warnOfHosts warns of events that were stored for a tenant under another base URL. To the ledger that is another
// tenant.
func (s *service) warnOfHosts(ctx context.Context, d *delivering) {
	warned := make(map[string]bool)
	for _, tenant := range d.tenants {
		if warned[tenant] {
			continue
		}
		warned[tenant] = true
		for _, other := range d.store.Namesakes(tenant) {
			theirs, err := d.store.EventsOf(ctx, other)
			if err == nil && theirs.Pending+theirs.Settled == 0 {
				continue
			}
			ours, countErr := d.store.EventsOf(ctx, tenant)
			if err == nil {
				err = countErr
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Error("look for events of the tenant under another host", zap.Error(err))
				return
			}
			s.log.Warn("the ledger has events of this tenant alias at another host",
				zap.String("tenant", tenant), zap.Int64("pending", ours.Pending), zap.Int64("settled", ours.Settled),
				zap.String("other_tenant", other), zap.Int64("other_pending", theirs.Pending),
				zap.Int64("other_settled", theirs.Settled),
				zap.String("remedy", "if both are the same SaaSquatch, use store merge-tenants with the names of "+
					"both tenants: then an event that was delivered to one is a duplicate at the other"))
		}
	}
}
