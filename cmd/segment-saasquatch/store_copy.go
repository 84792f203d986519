package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeCopyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy a store into a new one, of either kind",
		Long: `Copy copies the pending events, the ledger, the dead letters and the runs of one store
into another, new one. FROM and TO are each the file of an SQLite store, its directory,
or the URL of a PostgreSQL database: postgres://user@host/database. To keep a password
off the command line, set PGPASSWORD, or PGPASSFILE to the name of a file.

Stop the server first: copy refuses stores that a server uses. A copy that is interrupted
goes on when the same command is run again; until it is complete, no server starts on TO.
At the end every table has as many rows in TO as in FROM.

FROM stays as it is. Put it aside: a server that used it again would send its pending
events again.`,
		Args: cobra.ExactArgs(2),
	}
	f := addStoreFlags(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error { return p.storeCopy(f, args[0], args[1]) }
	return cmd
}

// storeAt returns the options of the store with the name.
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
	progress := &tableProgress{program: p, end: func() {}}
	copied, err := store.Copy(f.cmd.Context(), store.CopyOptions{From: from, To: to, Progress: progress.set})
	progress.end()
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

// tableProgress shows the progress of one table after another.
type tableProgress struct {
	*program
	table  string
	update func(done, total int64)
	end    func()
}

func (t *tableProgress) set(table string, done, total int64) {
	if table != t.table {
		t.end()
		t.table = table
		t.update, t.end = t.progressOf(table, func(n int64) string { return strconv.FormatInt(n, 10) })
	}
	t.update(done, total)
}
