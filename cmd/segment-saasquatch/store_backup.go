package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/store"
)

func (p *program) storeBackupCommand() *cobra.Command {
	var force bool
	cmd := command("backup FILE", "Copy an SQLite store, with or without a running server", `
Backup writes a copy of the SQLite store to FILE, with or without a running server.
The copy has the content of the store when the command began. It is one file that only
its owner can read. Backup looks for damage in the copy and counts its rows. FILE
appears once the copy is complete, examined and on the disk.

Meanwhile the server's write-ahead log grows by what the server writes.

Use PostgreSQL's own tools for a PostgreSQL store: see docs/backup.md.`)
	cmd.Args = cobra.ExactArgs(1)
	f := p.addStoreFlags(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	f.runs(func(cfg *config.Config, args []string) error { return p.storeBackup(f, cfg, args[0], force) })
	return cmd
}

// backupReport is the report of a backup.
type backupReport struct {
	File string `json:"file"`
	*store.Backed
}

func (p *program) storeBackup(f *storeFlags, cfg *config.Config, name string, force bool) error {
	path, err := storePath(cfg, "use `pg_dump --format=custom --file=FILE \"$STORE\"` for a copy, "+
		"or base backups with archived logs for any moment")
	if err != nil {
		return err
	}
	if !storeExists(cfg) {
		return fmt.Errorf("there is no store at %s: data_dir says where the server keeps its events", path)
	}
	file := &outputFile{"FILE", name, force}
	var own []string // the copy must not replace these files
	for _, suffix := range []string{"", "-wal", "-shm", ".lock", "-ballast"} {
		own = append(own, path+suffix)
	}
	if err := file.check(own); err != nil {
		return err
	}
	var done *store.Backed
	progress, end := p.showCount("copied", bytesText)
	err = file.fill(func(to *os.File) (err error) {
		done, err = store.Backup(f.cmd.Context(), store.BackupOptions{Path: path, To: to.Name(), Progress: progress})
		return err
	})
	end()
	if err == nil {
		err = store.SyncDirectory(name)
	}
	if err != nil {
		return failed(err)
	}
	text := fmt.Sprintf("%s: %d pending and %d settled events, %s, of %s\n"+
		"`segment-saasquatch store restore %s` restores it",
		name, done.Pending, done.Settled, bytesText(done.Bytes), done.TakenAt.Format(time.RFC3339), name)
	return failed(p.report(text, backupReport{name, done}, f.asJSON))
}
