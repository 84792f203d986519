//go:build !linux

package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// blockSize returns the unit of the counts of blocks.
func blockSize(stat *unix.Statfs_t) int64 { return int64(stat.Bsize) }

// allocate has the file take up so many bytes of the disk.
func allocate(file *os.File, size int64) error { return writeZeros(file, size) }
