package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// blockSize returns the unit of the block counts.
func blockSize(stat *unix.Statfs_t) int64 {
	if stat.Frsize > 0 {
		return int64(stat.Frsize)
	}
	return int64(stat.Bsize)
}

// allocate reserves size bytes of the disk for the file.
func allocate(file *os.File, size int64) error {
	err := unix.Fallocate(int(file.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return writeZeros(file, size)
	}
	return err
}
