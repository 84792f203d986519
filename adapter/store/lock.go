package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// InUseError means that another process uses the SQLite file.
type InUseError struct {
	// Path is the file that it has locked.
	Path string
	// PID is the other process, 0 if it is unknown.
	PID int
}

func (e *InUseError) Error() string {
	by := "another process, which `fuser` names"
	if e.PID != 0 {
		by = "process " + strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("the store is in use by %s: it holds %s: end it, or set another data_dir; "+
		"several processes can share a PostgreSQL store", by, e.Path)
}

// claim is a store's claim on its database file.
type claim struct {
	// path is the file after resolving symlinks, as SQLite names it.
	path      string
	id        fileID
	file      *os.File
	exclusive bool
	// locks are the locked companions, of an exclusive claim.
	locks []*os.File
}

// claimed are the database files that this process has open, under any name. SQLite's own locks belong to the
// process: the system releases all of them when any descriptor of the file is closed. So the last store of a file
// closes all its descriptors.
var claimed = struct {
	mu    sync.Mutex
	files map[fileID]*claimedFile
}{files: make(map[fileID]*claimedFile)}

type claimedFile struct {
	stores      int
	exclusive   bool
	descriptors []*os.File
}

// claimDatabase opens or makes the database file. Until release, or the end of this process, no other process can
// claim it under any name.
//
// On Linux the lock is on the file itself, so another name does not lead around it. The lock on a companion,
// FILE.lock, is for earlier versions of this program, and for other systems. On those systems a hard link leads
// around it.
func claimDatabase(path string) (*claim, error) {
	c, err := claimFile(path)
	if err != nil {
		return nil, err
	}
	if err := oneName(c.path); err != nil {
		return nil, errors.Join(err, c.release())
	}
	return c, nil
}

// claimFile is claimDatabase for a file that may have several names.
func claimFile(path string) (_ *claim, err error) {
	claimed.mu.Lock()
	defer claimed.mu.Unlock()
	if info, err := statFile(path); err == nil {
		if file := claimed.files[info.id]; file != nil && file.exclusive {
			return nil, &InUseError{Path: path, PID: os.Getpid()}
		}
	}
	c, err := join(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.leave())
		}
	}()
	if err := c.lockCompanions(path); err != nil {
		return nil, err
	}
	switch err := lockDatabase(c.file); {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return nil, &InUseError{Path: c.path}
	case err != nil:
		return nil, fmt.Errorf("lock the store: %s: %w", c.path, err)
	}
	c.exclusive, claimed.files[c.id].exclusive = true, true
	return c, nil
}

// joinDatabase opens the database file beside a process that may have claimed it.
func joinDatabase(path string) (_ *claim, err error) {
	claimed.mu.Lock()
	defer claimed.mu.Unlock()
	c, err := join(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.leave())
		}
	}()
	// SQLite finds its log and the locks of other processes by the name of the database.
	if locked, err := databaseLocked(c.file); err != nil {
		return nil, fmt.Errorf("look for the lock of the store: %s: %w", c.path, err)
	} else if _, err := statFile(c.path + indexSuffix); locked && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the store: the server that has %s open calls it by another name: "+
			"set the data_dir of the server", c.path)
	}
	if err := oneName(c.path); err != nil {
		return nil, err
	}
	return c, nil
}

// oneName returns an error if the database has a second name, a hard link: a process that opens it by that name finds
// neither the log nor the locks of this process.
func oneName(path string) error {
	info, err := statFile(path)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	if info.links > 1 {
		return fmt.Errorf("open the store: %s has %d names, and opened by two of them it would be damaged: "+
			"remove the hard links that `find -inum %d` shows",
			path, info.links, info.id.inode)
	}
	return nil
}

// join opens the file, counts a store that has it open, and resolves its path. The caller holds claimed.mu.
func join(path string, flags int) (*claim, error) {
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %s: %w", file.Name(), err), file.Close())
	}
	id := infoOf(&stat).id
	if claimed.files[id] == nil {
		claimed.files[id] = &claimedFile{}
	}
	claimed.files[id].stores++
	claimed.files[id].descriptors = append(claimed.files[id].descriptors, file)
	c := &claim{id: id, file: file}
	if c.path, err = filepath.EvalSymlinks(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), c.leave())
	}
	return c, nil
}

// lockCompanions locks the companion of the file and that of its configured name. A program that does not lock the
// database itself may use either name.
func (c *claim) lockCompanions(path string) error {
	directory, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("lock the store: %w", err)
	}
	names := []string{c.path + ".lock"}
	if name := filepath.Join(directory, filepath.Base(path)) + ".lock"; name != names[0] {
		names = append(names, name)
	}
	for _, name := range names {
		lock, err := lockFile(name)
		if err != nil {
			return err
		}
		c.locks = append(c.locks, lock)
	}
	return nil
}

// release ends the claim. SQLite must have closed the file.
func (c *claim) release() error {
	claimed.mu.Lock()
	defer claimed.mu.Unlock()
	return c.leave()
}

// leave is release for callers that hold claimed.mu.
func (c *claim) leave() error {
	var errs []error
	file := claimed.files[c.id]
	file.stores--
	if c.exclusive {
		file.exclusive = false
		errs = append(errs, unlockDatabase(c.file))
	}
	for _, lock := range c.locks {
		// A process that this one is starting has a copy of the file for a moment, and would keep the lock after
		// Close.
		errs = append(errs, unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close())
	}
	if file.stores == 0 {
		delete(claimed.files, c.id)
		for _, descriptor := range file.descriptors {
			errs = append(errs, descriptor.Close())
		}
	}
	return errors.Join(errs...)
}

// lockFile makes and locks a companion of the database. The file stays after the lock: removing it would let two
// processes lock two files of one name.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer func() { _ = file.Close() }()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the store: %s: %w", path, err)
		}
		held := &InUseError{Path: path}
		text := make([]byte, 32)
		if n, _ := file.ReadAt(text, 0); n > 0 { // only for the message
			held.PID, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
		}
		return nil, held
	}
	// The content is only for that message.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return file, nil
}
