package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/store"
)

func (p *program) storeBackupCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy an SQLite store beside its server",
		Long: `Backup writes a copy of the SQLite store to FILE, beside a running server or without
one. The copy holds what was in the store when the command began. It is one file,
readable by its owner only, and appears under its name once it is complete, examined
and on the disk: backup looks for damage in it and counts its rows.

The server's write-ahead log grows by what the server writes meanwhile.

A PostgreSQL store is backed up with PostgreSQL's own tools: see docs/backup.md.`,
		Args: cobra.ExactArgs(1),
	}
	f := addStoreFlags(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "let FILE be replaced if it exists")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return p.storeBackup(f, args[0], force) }
	return cmd
}

// backupReport is what is told of a backup.
type backupReport struct {
	File string `json:"file"`
	*store.Backed
}

func (p *program) storeBackup(f *storeFlags, name string, force bool) error {
	cfg, err := p.storeConfig(f)
	if err != nil {
		return err
	}
	path, err := storePath(cfg, "use `pg_dump --format=custom --file=FILE \"$STORE\"` for a copy, or base backups with "+
		"archived logs for any moment")
	if err != nil {
		return err
	}
	if !storeExists(cfg) {
		return fmt.Errorf("there is no store at %s: data_dir says where the server keeps its events", path)
	}
	file := &outputFile{"FILE", name, force}
	var own []string // which the copy must not replace
	for _, suffix := range []string{"", "-wal", "-shm", ".lock", "-ballast"} {
		own = append(own, path+suffix)
	}
	if err := file.check(own); err != nil {
		return err
	}
	var done *store.Backed
	progress, end := p.progressOf("copied", bytesText)
	err = file.fill(func(to *os.File) (err error) {
		done, err = store.Backup(f.cmd.Context(), store.BackupOptions{Path: path, To: to.Name(), Progress: progress})
		return err
	})
	end()
	if err == nil {
		err = syncDirectory(filepath.Dir(name))
	}
	if err != nil {
		return failed(err)
	}
	text := fmt.Sprintf("%s: %d pending and %d settled events, %s, of %s\n"+
		"`segment-saasquatch store restore %s` restores it",
		name, done.Pending, done.Settled, bytesText(done.Bytes), done.TakenAt.Format(time.RFC3339), name)
	return failed(p.report(text, backupReport{name, done}, f.asJSON))
}

// syncDirectory brings the names of files to the disk.
func syncDirectory(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
