package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Back up, restore, move and join stores",
		Long: `Store works on the store that the configuration describes as a whole.

docs/backup.md and docs/move.md tell how, for both kinds of stores.`,
	}
	cmd.AddCommand(p.storeBackupCommand(), p.storeRestoreCommand(), p.storeHoldCommand(), p.storeCopyCommand(), p.storeMergeCommand())
	return cmd
}

// storeFlags are those that all these commands have.
type storeFlags struct {
	cmd    *cobra.Command
	file   string
	asJSON bool
}

func addStoreFlags(cmd *cobra.Command) *storeFlags {
	f := &storeFlags{cmd: cmd}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "config", "", "configuration `file` of the server")
	flags.BoolVar(&f.asJSON, "json", false, "write JSON on one line")
	config.RegisterFlags(flags)
	return f
}

func (p *program) storeConfig(f *storeFlags) (*config.Config, error) {
	return config.Load(config.Source{File: f.file, Env: p.env, Flags: f.cmd.Flags()})
}

// storeChangeFlags are those of commands that change the store.
type storeChangeFlags struct {
	*storeFlags
	dry, yes bool
	takenAt  string
}

func addStoreChangeFlags(cmd *cobra.Command) *storeChangeFlags {
	f := &storeChangeFlags{storeFlags: addStoreFlags(cmd)}
	flags := cmd.Flags()
	flags.BoolVar(&f.dry, "dry-run", false, "say what would be done, and do nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	flags.StringVar(&f.takenAt, "taken-at", "", "`time` of the backup (default: that of the newest entry in it)")
	return f
}

// restored returns how pending events are examined.
func (f *storeChangeFlags) restored(cfg *config.Config) (store.RestoredOptions, error) {
	taken, err := parseMoment(f.takenAt, time.Now())
	if err != nil {
		return store.RestoredOptions{}, fmt.Errorf("--taken-at: %w", err)
	}
	if taken.After(time.Now()) {
		return store.RestoredOptions{}, errors.New(
			"--taken-at is in the future: write when the backup was taken, or leave it out")
	}
	return store.RestoredOptions{TakenAt: taken, Horizon: cfg.RetryHorizon}, nil
}

// pendingText tells what is pending in a backup, and what is to become of it.
func pendingText(found *store.Restored, send bool) string {
	if found.Pending == 0 {
		return "no event is pending"
	}
	text := fmt.Sprintf("%d events are pending", found.Pending)
	if !found.TakenAt.IsZero() {
		text = fmt.Sprintf("of %s, %s ago: %s", found.TakenAt.Format(time.RFC3339),
			time.Since(found.TakenAt).Round(time.Second), text)
	}
	if found.Hold() == 0 {
		return text + "; SaaSquatch knows the keys of those that were delivered after the backup"
	}
	if send {
		return text + fmt.Sprintf("; all are sent, and %d of them count again if they were delivered after the backup",
			found.Hold())
	}
	text += fmt.Sprintf("; %d of them are held as dead letters with the reason restored, since they could count again:",
		found.Hold())
	if found.KeyForgotten > 0 {
		text += fmt.Sprintf("\n  %d whose key SaaSquatch may have forgotten since the backup", found.KeyForgotten)
	}
	if found.NoKey > 0 {
		text += fmt.Sprintf("\n  %d without an idempotency key", found.NoKey)
	}
	return text
}

// heldText says how held events are sent.
func heldText(held int64) string {
	if held == 0 {
		return ""
	}
	return fmt.Sprintf("\n%d events are held: `segment-saasquatch deliveries list --reason restored` shows them, and "+
		"`segment-saasquatch deliveries redrive --reason restored` sends them", held)
}

// progressOf returns what shows on a terminal how far something is, and what ends that.
func (p *program) progressOf(what string, text func(int64) string) (progress func(done, total int64), end func()) {
	if !isTerminal(p.stderr) {
		return func(int64, int64) {}, func() {}
	}
	container := mpb.New(mpb.WithOutput(p.stderr.out), mpb.WithRefreshRate(barInterval), mpb.WithAutoRefresh())
	bar := container.New(0, mpb.BarStyle(), mpb.PrependDecorators(decor.Any(func(s decor.Statistics) string {
		return what + "  " + text(s.Current) + "/" + text(max(s.Total-1, 0))
	})))
	progress = func(done, total int64) {
		bar.SetTotal(total+1, false) // never full by itself
		bar.SetCurrent(done)
	}
	return progress, func() {
		endBar(func() {
			bar.Abort(false)
			container.Wait()
		})
	}
}

// storePath returns the SQLite database of the configuration. For PostgreSQL it returns an
// error with the remedy.
func storePath(cfg *config.Config, remedy string) (string, error) {
	if !cfg.Store.IsZero() {
		return "", errors.New("the store is PostgreSQL: " + remedy + "; docs/backup.md has more")
	}
	return filepath.Join(cfg.DataDir, storeFile), nil
}

// confirm asks, unless that is not wanted.
func (p *program) confirm(ctx context.Context, f *storeChangeFlags, text string) error {
	if f.yes {
		return nil
	}
	return p.ask(ctx, text)
}
