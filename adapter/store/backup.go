package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
)

// BackupOptions say what Backup copies.
type BackupOptions struct {
	// Path is the SQLite database.
	Path string
	// To is an empty file of the caller's, private to its owner, that becomes the copy.
	To string
	// Progress is told how many bytes of the database are copied, and how many there are.
	// Default: it is told to nothing.
	Progress func(done, total int64)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Backed is what Backup has copied.
type Backed struct {
	TakenAt time.Time `json:"taken_at"`
	Bytes   int64     `json:"bytes"`
	// Pending and Settled are how many events the copy holds.
	Pending int64 `json:"pending"`
	Settled int64 `json:"settled"`
}

// backupPages is how many pages are copied at a time. Between these steps Backup can be
// interrupted.
const backupPages = 1024

// Backup copies the database beside a server that has it open. The copy is one file, of the
// moment at which Backup began. It was examined and is on the disk when Backup returns. An
// error leaves a file of no use, and none beside it.
//
// SQLite copies the pages of one snapshot. Backup takes no lock that a server waits for. The
// write-ahead log cannot begin anew while the snapshot is in use, so it grows by what the
// server writes in that time. VACUUM INTO holds its snapshot longer, since it builds every
// table anew, and tells of no progress; see BenchmarkBackup. A copy without a snapshot would
// begin again with each commit of the server, and never end beside a busy one.
//
// The file may have been written by an earlier version.
func Backup(ctx context.Context, opts BackupOptions) (_ *Backed, err error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Progress == nil {
		opts.Progress = func(int64, int64) {}
	}
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	var e sqliteEngine
	switch err := e.joinFile(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, e.remedy(err)
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, e.claim.release()) }()
	if err := wholePages(e.path); err != nil {
		return nil, fmt.Errorf("back up %s: %w", e.path, err)
	}
	taken := opts.Now()
	defer func() {
		if err != nil {
			removeCompanions(opts.To)
			err = interrupted(ctx, err)
		}
	}()
	if err := copyPages(ctx, e.path, &opts); err != nil {
		return nil, fmt.Errorf("back up %s: %w", e.path, e.remedy(err))
	}
	opts.Progress(1, 1)
	if err := intoOneFile(ctx, opts.To); err != nil {
		return nil, fmt.Errorf("back up %s: %w", e.path, err)
	}
	return examineBackup(ctx, opts.To, e.path, taken)
}

// copyPages copies the database, without what makes the copy safe.
func copyPages(ctx context.Context, path string, opts *BackupOptions) (err error) {
	db, err := openFile(path, "&_pragma=query_only(true)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	// Without a transaction of its own, the copy would begin anew with each commit.
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	var tables int64
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
		return err
	}
	return conn.Raw(func(driverConn any) error {
		source, ok := driverConn.(interface {
			NewBackup(to string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.ErrUnsupported
		}
		// The file is of no use until it is complete, so it needs no journal.
		backup, err := source.NewBackup(fileSource(opts.To) + "?mode=rw&_pragma=journal_mode(off)&_pragma=synchronous(off)")
		if err != nil {
			return err
		}
		return errors.Join(stepAll(ctx, backup, opts.Progress), backup.Finish())
	})
}

// stepAll copies all pages.
func stepAll(ctx context.Context, backup *sqlite.Backup, progress func(done, total int64)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := backup.Step(backupPages)
		if err != nil || !more {
			return err
		}
		total := int64(backup.PageCount()) * pageSize
		progress(total-int64(backup.Remaining())*pageSize, total)
	}
}

// examineBackup looks into the copy, and writes to it when it was taken.
func examineBackup(ctx context.Context, path, name string, taken time.Time) (_ *Backed, err error) {
	db, err := openFile(path, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	name = "the copy of " + name
	if err := checkPages(ctx, db, name); err != nil {
		return nil, err
	}
	if err := checkBalance(ctx, db, name); err != nil {
		return nil, err
	}
	done := &Backed{TakenAt: taken.UTC()}
	err = db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM queue), (SELECT count(*) FROM deliveries)`).
		Scan(&done.Pending, &done.Settled)
	if err != nil {
		return nil, err
	}
	probe, err := hasTable(ctx, db, "probe")
	if err == nil && probe {
		_, err = db.ExecContext(ctx, `UPDATE probe SET probed_at = ?1`, milliseconds(taken))
	}
	if err != nil {
		return nil, fmt.Errorf("record the time of the backup: %w", err)
	}
	info, err := statFile(path)
	if err != nil {
		return nil, err
	}
	done.Bytes = info.size
	return done, nil
}

// interrupted returns the end of ctx in the place of what SQLite calls it.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// companions are what SQLite may have beside a database.
var companions = []string{logSuffix, indexSuffix, journalSuffix}

const journalSuffix = "-journal"

// removeCompanions removes what SQLite has left beside a file of no use.
func removeCompanions(path string) {
	for _, suffix := range companions {
		_ = os.Remove(path + suffix)
	}
}
