package store

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileLock keeps a second process from a database file. The system lets go of it
// when the process ends, however it ends.
type fileLock struct{ file *os.File }

// InUseError means that another process has the SQLite file.
type InUseError struct {
	Path string
	// PID is the other process, 0 if it is not known.
	PID int
}

func (e *InUseError) Error() string {
	by := "another process"
	if e.PID != 0 {
		by = "process " + strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("the store is in use by %s, which holds %s: end it, or set another data_dir; several processes can share a PostgreSQL store", by, e.Path)
}

func lockFile(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the store: %s: %w", path, err)
		}
		held := &InUseError{Path: path}
		text := make([]byte, 32)
		if n, _ := file.ReadAt(text, 0); n > 0 { // whose it is only helps the reader of the message
			held.PID, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
		}
		return nil, held
	}
	// What is written is for that message alone.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &fileLock{file}, nil
}

// release gives the lock up. The file stays: to remove it would let two processes
// lock two files of one name.
func (l *fileLock) release() error { return l.file.Close() }

// freeDisk returns the room that is left for this user on the disk, in bytes.
func freeDisk(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("ask for the free disk of %s: %w", dir, err)
	}
	return int64(stat.Bavail) * int64(stat.Bsize), nil
}
