package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/store"
)

func (p *program) storeHoldCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Hold the events of a restored store that could count twice",
		Long: `Hold is for a store that was restored by other means than store restore, such as
pg_restore or Litestream. Run it before the first server starts on the store. Events that
are pending in a backup may have been delivered after it. Hold makes dead letters of
those that SaaSquatch would count again, with the reason restored: those without an
idempotency key, and all if SaaSquatch may have forgotten their keys since the backup.
When you have decided, deliveries redrive --reason restored sends them. Hold says how
many there are, and asks.

The age of the backup is that of the newest entry in it. --taken-at names another time:
RFC 3339, a date, or how long ago: 2h, 7d. The store is brought to this version's schema.`,
		Args: cobra.NoArgs,
	}
	f := addStoreChangeFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error { return p.storeHold(f) }
	return cmd
}

// holdReport is what is told of a hold.
type holdReport struct {
	*store.Restored
	Held int64 `json:"held"`
	Done bool  `json:"done"`
}

func (p *program) storeHold(f *storeChangeFlags) error {
	cfg, err := p.storeConfig(f.storeFlags)
	if err != nil {
		return err
	}
	restored, err := f.restored(cfg)
	if err != nil {
		return err
	}
	if err := p.canConfirm(f.yes, f.dry); err != nil {
		return err
	}
	if !storeExists(cfg) {
		return fmt.Errorf("there is no store in %s: data_dir and store say where the server keeps its events", cfg.DataDir)
	}
	opts := storeOptions(cfg)
	opts.Offline, opts.Limits = true, heldLimits(cfg)
	ctx := f.cmd.Context()
	s, err := store.Open(ctx, opts)
	if err != nil {
		return failed(err)
	}
	return failed(errors.Join(p.hold(f, s, restored), s.Close()))
}

func (p *program) hold(f *storeChangeFlags, s *store.Store, opts store.RestoredOptions) error {
	ctx := f.cmd.Context()
	if err := s.CheckNoServer(ctx); err != nil {
		return err
	}
	found, err := s.ExamineRestored(ctx, opts)
	if err != nil {
		return err
	}
	text := pendingText(found, false)
	if f.dry {
		return p.report(text, holdReport{found, found.Hold(), false}, f.asJSON)
	}
	if err := p.confirm(ctx, f, text); err != nil {
		return err
	}
	progress, end := p.progressOf("looked at", func(n int64) string { return strconv.FormatInt(n, 10) })
	done, err := s.Hold(ctx, opts, func(n int64) { progress(n, found.Pending) })
	end()
	if err != nil {
		return err
	}
	text = fmt.Sprintf("looked at %d pending events", done.Pending) + heldText(done.Hold())
	return p.report(text, holdReport{done, done.Hold(), true}, f.asJSON)
}
