package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeCopyCommand() *cobra.Command {
	cmd := command("copy FROM TO", "Copy a store to a new one, SQLite or PostgreSQL", `
Copy copies the pending events, the ledger, the dead letters and the runs of a store to
a new store. FROM and TO are each the file of an SQLite store, its directory, or the URL
of a PostgreSQL database: postgres://user@host/database. To keep a password off the
command line, set PGPASSWORD, or set PGPASSFILE to the name of a file.

Stop the server first: copy refuses stores that a server uses. If the copy is
interrupted, run the same command again to go on. No server starts on TO until the copy
is complete. At the end every table has as many rows in TO as in FROM.

FROM stays as it is. Put it aside: a server that used it again would send its pending
events again.`)
	cmd.Args = cobra.ExactArgs(2)
	f := p.addStoreFlags(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error { return p.storeCopy(f, args[0], args[1]) }
	return cmd
}

// storeAt returns the options of the store at a path or URL.
func storeAt(name string) store.Options {
	if strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://") {
		return store.Options{URL: adapter.NewSecret(name)}
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, storeFile)
	}
	return store.Options{Path: name}
}

// storeLabel names the store without its password.
func storeLabel(opts store.Options) string {
	if !opts.URL.IsZero() {
		return "the PostgreSQL store"
	}
	return opts.Path
}

func (p *program) storeCopy(f *storeFlags, fromName, toName string) error {
	from, to := storeAt(fromName), storeAt(toName)
	if from.URL.IsZero() {
		if _, err := os.Stat(from.Path); err != nil {
			return fmt.Errorf("there is no store to copy: %w", err)
		}
	}
	if from.URL.Reveal() == to.URL.Reveal() && from.Path == to.Path {
		return errors.New("FROM and TO are the same store: name a new one as TO")
	}
	var table string // whose progress is shown
	var update func(done, total int64)
	end := func() {}
	progress := func(name string, done, total int64) {
		if name != table {
			end()
			table = name
			update, end = p.showCount(name, countText)
		}
		update(done, total)
	}
	copied, err := store.Copy(f.cmd.Context(), store.CopyOptions{From: from, To: to, Progress: progress})
	end()
	if err != nil {
		if f.cmd.Context().Err() != nil {
			err = fmt.Errorf("%w: the same command goes on with the copy", errInterrupted)
		}
		return failed(err)
	}
	text := fmt.Sprintf("%d pending and %d settled deliveries and %d runs of %s are in %s, %d rows in all\n"+
		"put %s aside: a server that used it again would send its pending events again",
		copied.Pending, copied.Settled, copied.Runs, storeLabel(from), storeLabel(to), copied.Rows, storeLabel(from))
	return failed(p.report(text, copied, f.asJSON))
}
