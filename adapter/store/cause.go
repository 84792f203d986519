package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"segment-saasquatch/adapter"
)

// errnos are errors of the system. SQLite often reports only a code of its own.
type errnos []unix.Errno

// codes are SQLite's extended codes.
type codes []int

// cause is a condition of the machine that keeps the SQLite store from working.
type cause struct {
	errors errnos
	codes  codes
	// message is for senders; see adapter.UnavailableError. remedy is for the operator.
	message, remedy string
}

// causes are the conditions that have a known remedy. The first that fits is taken.
var causes = []cause{
	{errnos{unix.EROFS}, nil, "the file system is read-only",
		"the user of this process must be able to write there: remount it for writing " +
			"(the kernel's log may say why it is read-only), or set another data_dir"},
	{errnos{unix.EACCES, unix.EPERM}, codes{sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM},
		"the store cannot be written to",
		"the user of this process must be able to write the file and its directory, or set another data_dir"},
	noInodes,
	{errnos{unix.ENOSPC}, codes{sqlite3.SQLITE_FULL}, "the disk is full",
		"make room on it; the store goes on by itself"},
	{errnos{unix.EDQUOT}, nil, "the disk quota is used up",
		"raise the quota of the user of this process, or make room; the store goes on by itself"},
	{errnos{unix.EFBIG}, nil, "the store's file may not grow",
		"raise the limit on the size of files (ulimit -f, or LimitFSIZE of systemd), " +
			"or set data_dir on a file system with larger files"},
	{errnos{unix.EMFILE}, nil, "the server has too many files open",
		"raise the limit on open files (ulimit -n, or LimitNOFILE of systemd)"},
	{errnos{unix.ENFILE}, nil, "the machine has too many files open",
		"raise fs.file-max, or end the programs that open them"},
	{errnos{unix.ENOLCK, unix.EOPNOTSUPP, unix.ENOTSUP, unix.ENOSYS},
		codes{
			sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_IOERR_RDLOCK, sqlite3.SQLITE_IOERR_UNLOCK,
			sqlite3.SQLITE_PROTOCOL,
			sqlite3.SQLITE_IOERR_SHMLOCK, sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_SHMOPEN,
		},
		"the file system has no locks",
		"set data_dir on a local disk: network file systems such as NFS lack the locks or the shared memory " +
			"that SQLite needs; for several machines there is the PostgreSQL store"},
	{errnos{unix.ESTALE}, nil, "the file system is gone",
		"mount it again and restart, or set data_dir on a local disk"},
	{errnos{unix.EISDIR}, nil, "the store is a directory",
		"the database is a file: remove the directory, or set another data_dir"},
	{errnos{unix.ENOTDIR}, nil, "the data directory is a file",
		"a part of the path is a file: remove it, or set another data_dir"},
	{errnos{unix.ELOOP, unix.ENAMETOOLONG, unix.ENOENT, unix.EEXIST}, nil, "the data directory is not there",
		"the path leads nowhere: make the directory, or set another data_dir"},
	{errnos{unix.ENOMEM}, codes{sqlite3.SQLITE_NOMEM}, "the store is out of memory", "give the process more memory"},
	{nil, codes{sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}, "the store is damaged", damagedRemedy},
	{nil, codes{sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}, "the store is busy",
		"end the program that keeps the database open"},
	{nil, codes{sqlite3.SQLITE_AUTH}, "the store cannot be written to",
		"the user of this process must be able to write the file and its directory"},
	{errnos{unix.EIO, unix.ENXIO, unix.ENODEV}, codes{sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN},
		"the disk reports an error", "look into the kernel's log, and replace the disk if it fails"},
}

// noInodes has the same error as a full disk.
var noInodes = cause{
	message: "the file system has no inodes left",
	remedy: "delete files (`df -i` shows the number), or make the file system with more inodes; " +
		"the store goes on by itself",
}

// explain returns the fault of the machine, nil for a fault of this program.
func (e *sqliteEngine) explain(err error) *adapter.UnavailableError {
	if lost, ok := errors.AsType[*FilesLostError](err); ok {
		return &adapter.UnavailableError{Message: "the store's files are lost", Err: lost}
	}
	if fault, ok := errors.AsType[*sqlite.Error](err); ok {
		c := causeOf(fault.Code(), 0)
		switch fault.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
			sqlite3.SQLITE_PERM:
			// SQLite does not return the error of the system.
			if found := e.tryOut(); found != nil {
				err = fmt.Errorf("%w (%w)", err, found)
				if system := e.causeOfSystem(found); system != nil {
					c = system
				}
			}
		}
		if c == nil {
			return nil
		}
		return &adapter.UnavailableError{Message: c.message, Err: fmt.Errorf("%w: %s", err, c.remedy)}
	}
	return nil
}

// remedy adds the remedy to an error on opening.
func (e *sqliteEngine) remedy(err error) error {
	if unavailable := e.explain(err); unavailable != nil {
		return unavailable
	}
	if c := e.causeOfSystem(err); c != nil {
		return fmt.Errorf("%s: %w: %s", c.message, err, c.remedy)
	}
	return err
}

// causeOfSystem returns the cause of an error of the system, nil if none is known.
func (e *sqliteEngine) causeOfSystem(err error) *cause {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		return nil
	}
	if errno == unix.ENOSPC {
		var stat unix.Statfs_t
		if err := unix.Statfs(filepath.Dir(e.path), &stat); err == nil && stat.Files > 0 && stat.Ffree == 0 {
			return &noInodes
		}
	}
	return causeOf(0, errno)
}

// causeOf returns the cause with SQLite's code, or else with the error of the system.
func causeOf(code int, errno unix.Errno) *cause {
	for _, exact := range []int{code, code & 0xff} {
		for i := range causes {
			if slices.Contains(causes[i].codes, exact) || code == 0 && slices.Contains(causes[i].errors, errno) {
				return &causes[i]
			}
		}
	}
	return nil
}

// tryOut does to a temporary file what SQLite does to the database, and returns the error of the system.
func (e *sqliteEngine) tryOut() (err error) {
	var end int64
	for _, name := range []string{e.path, e.path + logSuffix} {
		// It is not opened: closing it would release SQLite's locks.
		if err := unix.Access(name, unix.W_OK); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "write", Path: name, Err: err}
		}
		if info, err := statFile(name); err == nil {
			end = max(end, info.size)
		}
	}
	file, err := os.CreateTemp(filepath.Dir(e.path), "."+filepath.Base(e.path)+"-try-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if _, err := file.WriteAt(make([]byte, pageSize), end); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1})
}
