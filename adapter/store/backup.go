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

// BackupOptions configure Backup.
type BackupOptions struct {
	// Path is the SQLite database.
	Path string
	// To is an empty file that the caller has made, private to its owner. It becomes the copy.
	To string
	// Progress is called with the number of copied bytes and of all bytes of the database. Default: it does nothing.
	Progress func(done, total int64)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Backed describes the copy of a Backup.
type Backed struct {
	TakenAt time.Time `json:"taken_at"`
	Bytes   int64     `json:"bytes"`
	// Pending and Settled are the numbers of events in the copy.
	Pending int64 `json:"pending"`
	Settled int64 `json:"settled"`
}

// backupPages is the number of pages that one step copies. Backup can be interrupted between steps.
const backupPages = 1024

// Backup copies the database beside a server that has it open. The copy is one file with the state at the begin of
// Backup. When Backup returns, the copy has been checked and is on the disk. After an error the file is useless, and
// no other file is left beside it.
//
// SQLite copies the pages of one snapshot. Backup takes no lock that a server waits for. The write-ahead log cannot
// restart while the snapshot is in use, so it grows by the server's writes during that time. VACUUM INTO holds its
// snapshot longer, since it rebuilds every table, and reports no progress; see BenchmarkBackup. A copy without a
// snapshot would start again after each commit of the server, and never end beside a busy one.
//
// An earlier version may have written the database.
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
	// Without a transaction, the copy would start again after each commit.
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
		// An incomplete copy is useless, so it needs no journal.
		to := fileSource(opts.To) + "?mode=rw&_pragma=journal_mode(off)&_pragma=synchronous(off)"
		backup, err := source.NewBackup(to)
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

// examineBackup checks the copy, and writes the time of the backup into it.
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

// interrupted returns the error of an ended ctx instead of SQLite's error for it.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// companions are the suffixes of the files that SQLite may have beside a database.
var companions = []string{logSuffix, indexSuffix, journalSuffix}

const journalSuffix = "-journal"

// removeCompanions removes the files that SQLite has left beside a useless file.
func removeCompanions(path string) {
	for _, suffix := range companions {
		_ = os.Remove(path + suffix)
	}
}
