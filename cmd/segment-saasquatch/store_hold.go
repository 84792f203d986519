package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeHoldCommand() *cobra.Command {
	cmd := command("hold", "Hold the events of a restored store that could count twice", `
Use hold for a store that was not restored by store restore, but by pg_restore or
Litestream, for example. Run it before the first server starts on the store. Events that
are pending in a backup may have been delivered after it. Hold turns the events that
SaaSquatch would count again into dead letters with the reason restored: events without
an idempotency key, and all events if SaaSquatch may have forgotten their keys since the
backup. When you have decided, deliveries redrive --reason restored sends them. Hold
reports their number, and asks for confirmation.

The age of the backup is the age of its newest entry. --taken-at sets another time:
RFC 3339, a date (UTC), or an age such as 2h or 7d. Hold migrates the store to the schema
of this version.`)
	f := p.addRestoredFlags(cmd)
	f.runs(func(cfg *config.Config, _ []string) error { return p.storeHold(f, cfg) })
	return cmd
}

// holdReport is the report of a hold.
type holdReport struct {
	*store.Restored
	Held int64 `json:"held"`
	Done bool  `json:"done"`
}

func (p *program) storeHold(f *restoredFlags, cfg *config.Config) error {
	restored, err := f.restored(cfg)
	if err != nil {
		return err
	}
	if err := errors.Join(p.canConfirm(&f.confirmFlags), needStore(cfg)); err != nil {
		return err
	}
	opts := storeOptions(cfg)
	opts.Offline, opts.Limits = true, heldLimits(cfg)
	s, err := store.Open(f.cmd.Context(), opts)
	if err != nil {
		return failed(err)
	}
	return failed(errors.Join(p.hold(f, s, restored), s.Close()))
}

func (p *program) hold(f *restoredFlags, s *store.Store, opts store.RestoredOptions) error {
	ctx := f.cmd.Context()
	if err := s.CheckNoServer(ctx); err != nil {
		return err
	}
	found, err := s.ExamineRestored(ctx, opts)
	if err != nil {
		return err
	}
	return p.carryOut(ctx, &f.confirmFlags, f.asJSON, func(dry bool) (string, any, error) {
		if dry {
			return pendingText(found, false), holdReport{found, found.Hold(), false}, nil
		}
		progress, end := p.showCount("looked at", countText)
		done, err := s.Hold(ctx, opts, func(n int64) { progress(n, found.Pending) })
		end()
		if err != nil {
			return "", nil, err
		}
		text := fmt.Sprintf("looked at %d pending events", done.Pending) + heldText(done.Hold())
		return text, holdReport{done, done.Hold(), true}, nil
	})
}
