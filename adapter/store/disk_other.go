//go:build !linux

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// blockSize returns the unit of the block counts.
func blockSize(stat *unix.Statfs_t) int64 { return int64(stat.Bsize) }

// allocate reserves size bytes of the disk for the file.
func allocate(file *os.File, size int64) error { return writeZeros(file, size) }
