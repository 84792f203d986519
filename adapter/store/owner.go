package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownLike gives a file the owner and the group of another.
func ownLike(path string, like fs.FileInfo) error {
	want, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	var have unix.Stat_t
	if err := unix.Stat(path, &have); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	err := os.Chown(path, int(want.Uid), int(want.Gid))
	if errors.Is(err, fs.ErrPermission) && have.Uid == want.Uid {
		return nil // the group does not matter for a private file
	}
	return err
}
