package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RestoreOptions configure a restore.
type RestoreOptions struct {
	// Path is the SQLite database to replace. It may be missing or damaged.
	Path string
	// File is the backup. It stays unchanged. A write-ahead log beside it is restored too.
	File string
	// Restored configures the examination of its pending events.
	Restored RestoredOptions
	// Limits bound the events that can be held.
	Limits Limits
	// Progress is called with the number of copied bytes and of all bytes. Default: it does nothing.
	Progress func(done, total int64)
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	step func(name string) // called before each step of the replacement, for tests
}

// Restoration is a backup that was copied beside the database, examined and migrated to this version's schema. It has
// claimed the database: no server can start until Close.
type Restoration struct {
	Restored
	// File is the backup, and Database the database that it replaces.
	File     string `json:"file"`
	Database string `json:"database"`
	// Replaced is the new name of the former database, empty if there was none.
	Replaced string `json:"replaced,omitempty"`
	// Settled is the number of settled events in the backup.
	Settled int64 `json:"settled"`

	opts  RestoreOptions
	claim *claim
	swap  *swap
	// temporary is the copy, empty once it has replaced the database.
	temporary string
}

// PrepareRestore examines a backup. It returns an [InUseError] if a server has the database open, and a
// [ForeignFileError], a [DamagedFileError] or a [NewerSchemaError] if the backup cannot be used. The caller closes
// the result.
func PrepareRestore(ctx context.Context, opts RestoreOptions) (_ *Restoration, err error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Progress == nil {
		opts.Progress = func(int64, int64) {}
	}
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("restore the store: %w", err)
	}
	var e sqliteEngine
	if err := e.claimFile(path); err != nil {
		return nil, err
	}
	r := &Restoration{File: opts.File, Database: e.path, opts: opts, claim: e.claim}
	defer func() {
		if err != nil {
			err = interrupted(ctx, errors.Join(err, r.Close()))
		}
	}()
	if err := removeTemporary(r.Database); err != nil {
		return nil, fmt.Errorf("remove what an interrupted restore has left: %w", err)
	}
	r.swap = newSwap(r.Database, opts.Now(), opts.step)
	if there, err := statFile(r.Database); err != nil {
		return nil, fmt.Errorf("restore the store: %w", err)
	} else if there.size > 0 {
		r.Replaced = r.swap.replaced()
	}
	if err := r.copy(ctx); err != nil {
		return nil, e.remedy(err)
	}
	if err := r.examine(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// temporaryPrefix begins the names of copies.
func temporaryPrefix(database string) string { return "." + filepath.Base(database) + "-restoring-" }

// removeTemporary removes the copies of a process that was killed.
func removeTemporary(database string) error {
	entries, err := os.ReadDir(filepath.Dir(database))
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), temporaryPrefix(database)) {
			err = errors.Join(err, os.Remove(filepath.Join(filepath.Dir(database), entry.Name())))
		}
	}
	return err
}

// Close releases the database, and removes the copy unless Commit has put it in place.
func (r *Restoration) Close() error {
	var errs []error
	if r.temporary != "" {
		removeCompanions(r.temporary)
		errs = append(errs, os.Remove(r.temporary))
		r.temporary = ""
	}
	if r.claim != nil {
		if there, err := statFile(r.claim.path); err == nil && there.size == 0 { // the claim has made it
			errs = append(errs, os.Remove(r.claim.path))
		}
		errs = append(errs, r.claim.release())
		r.claim = nil
	}
	return errors.Join(errs...)
}

// copy copies the backup, and its log if it has one, to files beside the database.
func (r *Restoration) copy(ctx context.Context) error {
	source, err := os.Open(r.File)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	defer func() { _ = source.Close() }()
	info, err := source.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("open the backup: %w", err)
	case !info.Mode().IsRegular():
		return &ForeignFileError{Path: r.File, Problem: "is no regular file"}
	}
	if there, err := os.Stat(r.Database); err == nil && os.SameFile(there, info) {
		return &ForeignFileError{Path: r.File, Problem: "is the database itself"}
	}
	if locked, err := databaseLocked(source); err == nil && locked {
		return &ForeignFileError{Path: r.File, Problem: "is the database of a server that runs"}
	}
	size, logSize := info.Size(), int64(0)
	if log, err := os.Stat(r.File + logSuffix); err == nil {
		logSize = log.Size()
	}
	if err := checkFormat(r.File, source, size, logSize > 0); err != nil {
		return err
	}
	if room, err := diskOf(filepath.Dir(r.Database)); err == nil && room.free < size+logSize {
		return fmt.Errorf("the disk of %s has %d bytes left, and the backup has %d: "+
			"make room, for example by deleting former databases (%s*)",
			filepath.Dir(r.Database), room.free, size+logSize, r.Database+replacedSuffix)
	}
	file, err := os.CreateTemp(filepath.Dir(r.Database), temporaryPrefix(r.Database)+"*")
	if err != nil {
		return fmt.Errorf("copy the backup: %w", err)
	}
	r.temporary = file.Name()
	progress := func(done int64) { r.opts.Progress(done, size+logSize) }
	err = errors.Join(copyAll(ctx, file, source, progress), r.ownLikeDatabase(file.Name()), file.Close())
	if err == nil && logSize > 0 {
		err = r.copyLog(ctx, func(done int64) { progress(size + done) })
	}
	return wrap("copy the backup", err)
}

func (r *Restoration) copyLog(ctx context.Context, progress func(done int64)) error {
	source, err := os.Open(r.File + logSuffix)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	file, err := os.OpenFile(r.temporary+logSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(copyAll(ctx, file, source, progress), file.Close())
}

// copyAll copies a file until ctx ends.
func copyAll(ctx context.Context, to io.Writer, from io.Reader, progress func(done int64)) error {
	const step = 4 << 20
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(to, from, step)
		done += n
		progress(done)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// ownLikeDatabase gives a file the owner of the database, or that of its directory if there was no database: root may
// restore a database that another user serves.
func (r *Restoration) ownLikeDatabase(path string) error {
	like, err := os.Stat(r.Database)
	if err == nil && like.Size() == 0 {
		if like, err = os.Stat(filepath.Dir(r.Database)); err == nil {
			err = ownLike(r.Database+".lock", like)
		}
	}
	if err != nil {
		return err
	}
	return ownLike(path, like)
}

// examine checks that the copy can be used, and counts its pending events.
func (r *Restoration) examine(ctx context.Context) error {
	db, err := openFile(r.temporary, "")
	if err != nil {
		return err
	}
	if err = checkPages(ctx, db, r.File); err == nil {
		err = migrate(ctx, db, "sqlite", &Options{})
	}
	if err == nil {
		err = checkBalance(ctx, db, r.File)
	}
	if err == nil {
		err = db.QueryRowContext(ctx, `SELECT count(*) FROM deliveries`).Scan(&r.Settled)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		if damaged, ok := errors.AsType[*DamagedFileError](err); ok && exists(r.temporary+logSuffix) {
			damaged.Faults = append(damaged.Faults,
				"or the log "+r.File+logSuffix+" beside it is of another database, and has to be put aside")
		}
		return fmt.Errorf("restore %s: %w", r.File, err)
	}
	return r.withStore(ctx, func(s *Store) error {
		found, err := s.ExamineRestored(ctx, r.opts.Restored)
		if err == nil {
			r.Restored = *found
		}
		return err
	})
}

// withStore runs fn on the copy.
func (r *Restoration) withStore(ctx context.Context, fn func(*Store) error) error {
	s, err := Open(ctx, Options{Path: r.temporary, Shared: true, Limits: r.opts.Limits, Now: r.opts.Now})
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.Close())
}

// Commit holds the events that could count twice, unless send is set, and replaces the database by the copy. An
// interruption at any point leaves the former database or the restored one: once the replacement is decided, the next
// process that opens the database finishes it.
func (r *Restoration) Commit(ctx context.Context, send bool, progress func(done int64)) (err error) {
	defer func() {
		if err != nil {
			err = interrupted(ctx, err)
		}
	}()
	if !send {
		err := r.withStore(ctx, func(s *Store) error {
			_, err := s.Hold(ctx, r.opts.Restored, progress)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := intoOneFile(ctx, r.temporary); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err = r.swap.decide(r.temporary)
	if err == nil {
		r.temporary = ""
		err = r.swap.finish()
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", r.Database, err)
	}
	return nil
}
