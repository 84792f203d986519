//go:build !linux

package store

import "os"

// lockDatabase does nothing: the system has no lock that leaves those of SQLite alone.
func lockDatabase(*os.File) error { return nil }

// unlockDatabase does nothing.
func unlockDatabase(*os.File) error { return nil }

// databaseLocked does not know.
func databaseLocked(*os.File) (bool, error) { return false, nil }
