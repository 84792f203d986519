package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockByte is the locked byte of the database. SQLite locks 512 bytes at 1 GiB; this byte lies after them. A lock
// changes nothing in the file and may lie beyond its end.
const lockByte = 1<<30 + 1024

// lockDatabase locks the file until all duplicates of the descriptor are closed. It returns EAGAIN if another
// descriptor has the lock, of any process and by any name. The lock belongs to the descriptor, not to the process, so
// SQLite's locks and this one do not affect each other.
//
// A file system, or a kernel before 3.15, may lack such locks. Then only the companion is locked.
func lockDatabase(file *os.File) error {
	err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: lockByte, Len: 1})
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// unlockDatabase releases the lock of lockDatabase.
func unlockDatabase(file *os.File) error {
	err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Start: lockByte, Len: 1})
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// databaseLocked reports whether another descriptor has the lock.
func databaseLocked(file *os.File) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: lockByte, Len: 1}
	err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock)
	if errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	return err == nil && lock.Type != unix.F_UNLCK, err
}

// companionLocked is always false: databaseLocked finds the lock.
func companionLocked(string) bool { return false }
