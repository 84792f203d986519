package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeRestoreCommand() *cobra.Command {
	var send bool
	cmd := command("restore FILE", "Replace an SQLite store by a backup", `
Restore replaces the SQLite store by FILE, a copy that store backup, sqlite3's .backup or
VACUUM INTO has made. Stop the server first. Restore copies FILE, looks for damage, counts
the rows, and migrates the copy to the schema of this version. FILE stays as it is. Restore
reports what it would do, and asks for confirmation.

The former store stays in the same directory until you delete it, under a name with the
time. If restore is interrupted, the next start finds the former store or the restored one.

A backup does not have what was accepted or delivered after it. Events that are pending in
it may have been delivered since. Restore holds the events that SaaSquatch would count
again as dead letters with the reason restored: events without an idempotency key, and all
events if SaaSquatch may have forgotten their keys since the backup. When you have decided,
deliveries redrive --reason restored sends them. With --send restore holds no event.

The age of the backup is the age of its newest entry. --taken-at sets another time:
RFC 3339, a date (UTC), or an age such as 2h or 7d.

Use PostgreSQL's own tools and store hold for a PostgreSQL store: see docs/backup.md.`)
	cmd.Args = cobra.ExactArgs(1)
	f := p.addRestoredFlags(cmd)
	cmd.Flags().BoolVar(&send, "send", false, "send all pending events, also the ones that may count again")
	f.runs(func(cfg *config.Config, args []string) error { return p.storeRestore(f, cfg, args[0], send) })
	return cmd
}

// restoreReport is the report of a restore.
type restoreReport struct {
	*store.Restoration
	Held int64 `json:"held"` // with Done unset: would be held
	Done bool  `json:"done"` // not a dry run
}

func (p *program) storeRestore(f *restoredFlags, cfg *config.Config, name string, send bool) error {
	opts, err := restoreOptions(f, cfg, name)
	if err != nil {
		return err
	}
	if err := p.canConfirm(&f.confirmFlags); err != nil {
		return err
	}
	ctx := f.cmd.Context()
	var end func()
	opts.Progress, end = p.showCount("copied", bytesText)
	r, err := store.PrepareRestore(ctx, *opts)
	end()
	if err != nil {
		return failed(err)
	}
	report := restoreReport{Restoration: r, Held: r.Hold()}
	if send {
		report.Held = 0
	}
	err = p.carryOut(ctx, &f.confirmFlags, f.asJSON, func(dry bool) (string, any, error) {
		if dry {
			return restoreText(r, send), report, nil
		}
		progress, end := p.showCount("looked at", countText)
		err := r.Commit(ctx, send, func(done int64) { progress(done, r.Pending) })
		end()
		if err = errors.Join(err, r.Close()); err != nil {
			return "", nil, err
		}
		report.Done = true
		text := fmt.Sprintf("%s is restored from %s", r.Database, r.File)
		if r.Replaced != "" {
			text += fmt.Sprintf("; the former one is %s until you delete it", r.Replaced)
		}
		return text + heldText(report.Held), report, nil
	})
	return failed(errors.Join(err, r.Close()))
}

// restoreOptions reads the options from the flags and the configuration.
func restoreOptions(f *restoredFlags, cfg *config.Config, name string) (*store.RestoreOptions, error) {
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

// heldLimits returns the limits of the held events.
func heldLimits(cfg *config.Config) store.Limits {
	return store.Limits{DeadLetters: cfg.DeadLetters.MaxBytes}
}

// restoreText tells what a restore would do.
func restoreText(r *store.Restoration, send bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is sound; it has %d settled events\n%s\n", r.File, r.Settled, pendingText(&r.Restored, send))
	if r.Replaced != "" {
		fmt.Fprintf(&b, "it takes the place of %s, which is kept as %s\n", r.Database, r.Replaced)
	} else {
		fmt.Fprintf(&b, "it becomes %s; there is no store yet\n", r.Database)
	}
	b.WriteString("what was accepted or delivered after the backup is not in it")
	return b.String()
}
