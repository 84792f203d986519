package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeDisk returns the room that is left for this user on the disk, in bytes.
func freeDisk(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("ask for the free disk of %s: %w", dir, err)
	}
	return int64(stat.Bavail) * int64(stat.Bsize), nil
}
