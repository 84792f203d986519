package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A restored database replaces the former one in steps, since no single operation replaces a database together with
// its log. A complete database with preparedSuffix in its name marks the replacement as decided: a process that finds
// one does the remaining steps before it opens the database. So no process opens one database with the log of
// another.
const (
	// preparedSuffix and replacedSuffix stand between the name of the database and the time.
	preparedSuffix, replacedSuffix = "-restored-", ".replaced-"
	swapTimeLayout                 = "20060102T150405Z"
)

// swap replaces a database by a prepared one.
type swap struct {
	path string // behind symlinks
	// at is the time in the names.
	at string
	// step is called before each step, for tests.
	step func(name string)
}

func (s *swap) prepared() string { return s.path + preparedSuffix + s.at }

func (s *swap) replaced() string { return s.path + replacedSuffix + s.at }

// newSwap returns a swap whose names are free.
func newSwap(path string, now time.Time, step func(string)) *swap {
	if step == nil {
		step = func(string) {}
	}
	s := &swap{path: path, at: now.UTC().Format(swapTimeLayout), step: step}
	for n := 2; exists(s.replaced()) || exists(s.prepared()); n++ {
		s.at = fmt.Sprintf("%s-%d", now.UTC().Format(swapTimeLayout), n)
	}
	return s
}

// pendingSwap returns an interrupted swap, nil if there is none.
func pendingSwap(path string) (*swap, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if at, ok := strings.CutPrefix(entry.Name(), filepath.Base(path)+preparedSuffix); ok {
			return &swap{path: path, at: at, step: func(string) {}}, nil
		}
	}
	return nil, nil
}

// decide gives the prepared file its name. From here on the next process opens the restored database.
func (s *swap) decide(file string) error {
	s.step("decide")
	if err := os.Rename(file, s.prepared()); err != nil {
		return err
	}
	return SyncDirectory(s.path)
}

// finish does the remaining steps. It may have been interrupted in any of them. The caller has claimed the database.
func (s *swap) finish() error {
	for _, suffix := range []string{logSuffix, journalSuffix} {
		if !exists(s.path + suffix) {
			continue
		}
		s.step("move " + suffix)
		if err := os.Rename(s.path+suffix, s.replaced()+suffix); err != nil {
			return err
		}
	}
	s.step("remove the index")
	if err := os.Remove(s.path + indexSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := SyncDirectory(s.path); err != nil {
		return err
	}
	s.step("keep the database")
	if err := s.keep(); err != nil {
		return err
	}
	s.step("replace")
	if err := os.Rename(s.prepared(), s.path); err != nil {
		return err
	}
	s.step("sync")
	return SyncDirectory(s.path)
}

// keep gives the former database a second name. An empty file is no database.
func (s *swap) keep() error {
	there, err := statFile(s.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && there.size == 0 || exists(s.replaced()) {
		return nil
	}
	if err != nil {
		return err
	}
	switch err := os.Link(s.path, s.replaced()); {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS),
		errors.Is(err, unix.EMLINK):
		// The file system has no links. Between the two renames only the prepared database exists.
		if err := os.Rename(s.path, s.replaced()); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	return SyncDirectory(s.path)
}

// RestoreInterruptedError means that a restore was interrupted after it had been decided on.
type RestoreInterruptedError struct{ Path string }

func (e *RestoreInterruptedError) Error() string {
	return fmt.Sprintf("the restore of %s was interrupted: "+
		"start the server, which finishes it, or repeat `store restore`", e.Path)
}

// finishSwap finishes an interrupted restore of the database, if there is one.
func finishSwap(path string) (err error) {
	s, err := pendingSwap(path)
	if s == nil || err != nil {
		return err
	}
	claim, err := claimFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, claim.release()) }()
	// Another process may have finished it meanwhile.
	if s, err = pendingSwap(path); s == nil || err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		return fmt.Errorf("finish the restore of %s: %w", path, err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// SyncDirectory writes the names of the files beside the file to the disk.
func SyncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
