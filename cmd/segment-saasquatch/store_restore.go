package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeRestoreCommand() *cobra.Command {
	var send bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of an SQLite store",
		Long: `Restore puts FILE in the place of the SQLite store: a copy that store backup, sqlite3's
.backup or VACUUM INTO has made. No server may run on the store. Restore copies FILE, looks
for damage, counts its rows, and brings it to this version's schema; FILE stays as it is. It
says what it would do, and asks.

The former store stays in the same directory, under a name with the time, until you delete
it. If restore is interrupted, the next start finds the former store or the restored one.

A backup knows nothing of what was accepted or delivered after it. Events that are pending
in it may have been delivered since. Restore holds those that SaaSquatch would count again
as dead letters, with the reason restored: those without an idempotency key, and all if
SaaSquatch may have forgotten their keys since the backup. When you have decided,
deliveries redrive --reason restored sends them. With --send nothing is held.

The age of the backup is that of the newest entry in it. --taken-at names another time:
RFC 3339, a date, or how long ago: 2h, 7d.

A PostgreSQL store is restored with PostgreSQL's own tools, and store hold: see
docs/backup.md.`,
		Args: cobra.ExactArgs(1),
	}
	f := addStoreChangeFlags(cmd)
	cmd.Flags().BoolVar(&send, "send", false, "send all pending events, also those that may count again")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return p.storeRestore(f, args[0], send) }
	return cmd
}

// restoreReport is what is told of a restore.
type restoreReport struct {
	*store.Restoration
	// Held is how many events are held, or would be.
	Held int64 `json:"held"`
	// Done says that it was not a dry run.
	Done bool `json:"done"`
}

func (p *program) storeRestore(f *storeChangeFlags, name string, send bool) error {
	opts, err := p.restoreOptions(f, name)
	if err != nil {
		return err
	}
	if err := p.canConfirm(f.yes, f.dry); err != nil {
		return err
	}
	ctx := f.cmd.Context()
	progress, end := p.progressOf("copied", bytesText)
	opts.Progress = progress
	r, err := store.PrepareRestore(ctx, *opts)
	end()
	if err != nil {
		return failed(err)
	}
	report := restoreReport{Restoration: r, Held: r.Hold()}
	if send {
		report.Held = 0
	}
	text := restoreText(r, send)
	if f.dry {
		return failed(errors.Join(p.report(text, report, f.asJSON), r.Close()))
	}
	if err := p.confirm(ctx, f, text); err != nil {
		return failed(errors.Join(err, r.Close()))
	}
	progress, end = p.progressOf("looked at", func(n int64) string { return strconv.FormatInt(n, 10) })
	err = r.Commit(ctx, send, func(done int64) { progress(done, r.Pending) })
	end()
	if err = errors.Join(err, r.Close()); err != nil {
		return failed(err)
	}
	report.Done = true
	text = fmt.Sprintf("%s is restored from %s", r.Database, r.File)
	if r.Replaced != "" {
		text += fmt.Sprintf("; the former one is %s until you delete it", r.Replaced)
	}
	return failed(p.report(text+heldText(report.Held), report, f.asJSON))
}

// restoreOptions reads the command line.
func (p *program) restoreOptions(f *storeChangeFlags, name string) (*store.RestoreOptions, error) {
	cfg, err := p.storeConfig(f.storeFlags)
	if err != nil {
		return nil, err
	}
	path, err := storePath(cfg, "restore a dump to a new database with createdb and `pg_restore --dbname=URL FILE`, "+
		"name that database in STORE, and run `segment-saasquatch store hold` before the first server starts")
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no backup %s", name)
	} else if err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory: name the file of a backup", name)
	}
	restored, err := f.restored(cfg)
	if err != nil {
		return nil, err
	}
	return &store.RestoreOptions{Path: path, File: name, Restored: restored, Limits: heldLimits(cfg)}, nil
}

// heldLimits bound what can be held.
func heldLimits(cfg *config.Config) store.Limits {
	return store.Limits{DeadLetters: cfg.DeadLetters.MaxBytes}
}

// restoreText tells what is about to happen.
func restoreText(r *store.Restoration, send bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is sound; it has %d settled events\n%s\n", r.File, r.Settled, pendingText(&r.Restored, send))
	if r.Replaced != "" {
		fmt.Fprintf(&b, "it takes the place of %s, which is kept as %s\n", r.Database, r.Replaced)
	} else {
		fmt.Fprintf(&b, "it becomes %s; there is no store so far\n", r.Database)
	}
	b.WriteString("what was accepted or delivered after the backup is not in it")
	return b.String()
}
