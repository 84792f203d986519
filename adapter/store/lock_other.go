//go:build !linux

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockDatabase does nothing: the system has no lock that leaves SQLite's locks alone.
func lockDatabase(*os.File) error { return nil }

// unlockDatabase does nothing.
func unlockDatabase(*os.File) error { return nil }

// databaseLocked is always false: the lock is on the companion.
func databaseLocked(*os.File) (bool, error) { return false, nil }

// companionLocked reports whether another descriptor has the lock of lockFile.
func companionLocked(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}
