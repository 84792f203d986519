package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// disk is the size of a file system in bytes.
type disk struct{ total, free int64 }

// diskOf measures the file system of a directory. Room for root only is not free.
func diskOf(dir string) (disk, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return disk{}, fmt.Errorf("ask for the free disk of %s: %w", dir, err)
	}
	block := blockSize(&stat)
	return disk{total: int64(stat.Blocks) * block, free: int64(stat.Bavail) * block}, nil
}

// ballastSuffix follows the name of the database in the name of the ballast.
const ballastSuffix = "-ballast"

// maxBallast is the largest ballast, in bytes.
const maxBallast = 64 << 20

// ballast is a file that takes up a part of the room that stays free. When other programs fill the disk, the store
// deletes it. With that room the store starts, records outcomes, and deletes what it need not keep. Its hole: a file
// system that compresses the file or shares its blocks.
type ballast struct {
	path string
	// size is a quarter of the reserve, 0 if there is no reserve.
	size    int64
	reserve int64
}

func newBallast(database string, reserve int64) ballast {
	return ballast{path: database + ballastSuffix, size: min(reserve/4, maxBallast), reserve: reserve}
}

// held returns the size of the file in bytes.
func (b *ballast) held() int64 {
	if b.size == 0 {
		return 0
	}
	info, err := statFile(b.path)
	if err != nil {
		return 0
	}
	return info.size
}

// drop deletes the file and reports whether there was one.
func (b *ballast) drop() bool { return b.size > 0 && os.Remove(b.path) == nil }

// keep makes the file if the whole reserve is free, and deletes it if less than its own size is free. In between it
// leaves the file as it is.
func (b *ballast) keep() error {
	if b.size == 0 {
		return nil
	}
	held := b.held()
	if held != b.size && held != 0 { // another reserve was configured
		b.drop()
		held = 0
	}
	room, err := diskOf(filepath.Dir(b.path))
	switch {
	case err != nil:
		return err
	case held > 0 && room.free < b.size:
		b.drop()
	case held == 0 && room.free >= b.reserve:
		return b.fill()
	}
	return nil
}

// fill makes the file.
func (b *ballast) fill() (err error) {
	file, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make the ballast: %w", err)
	}
	if err = allocate(file, b.size); err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("make the ballast: %w", errors.Join(err, os.Remove(b.path)))
	}
	return nil
}

// writeZeros writes size bytes.
func writeZeros(file *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for written := int64(0); written < size; {
		n, err := file.Write(zeros[:min(size-written, int64(len(zeros)))])
		if err != nil {
			return err
		}
		written += int64(n)
	}
	return nil
}

// fitsReserve returns an error if the disk as a whole is smaller than the reserve.
func fitsReserve(dir string, reserve int64) error {
	room, err := diskOf(dir)
	if err != nil {
		return err
	}
	if reserve > 0 && room.total < reserve {
		return fmt.Errorf("the disk of %s has %d bytes in all, and backlog.min_free_disk is to keep %d free, "+
			"so no event could be accepted: take a larger disk, or lower backlog.min_free_disk",
			dir, room.total, reserve)
	}
	return nil
}

// isFull reports whether SQLite found no room on the disk.
func isFull(err error) bool {
	fault, ok := errors.AsType[*sqlite.Error](err)
	return ok && fault.Code()&0xff == sqlite3.SQLITE_FULL
}

// makeRoom deletes the ballast and makes the next transaction restart the log. The caller holds the writer.
func (e *sqliteEngine) makeRoom() {
	e.ballast.drop()
	_ = e.restart(context.Background(), logState{}) // the next transaction shows whether it helped
}

// freeDisk returns the room for the database to grow: the free room with the ballast, less the growth of the database
// file by the log.
func (e *sqliteEngine) freeDisk() (int64, error) {
	room, err := diskOf(filepath.Dir(e.path))
	if err != nil {
		return 0, err
	}
	free := room.free + e.ballast.held()
	log, err := statFile(e.path + logSuffix)
	if err != nil {
		return 0, err
	}
	if free-log.size >= 2*e.ballast.reserve { // the log may be copied already, which makes no difference here
		return free - log.size, nil
	}
	growth, err := e.growth()
	return free - growth, err
}

// growth returns the bytes by which the log will extend the database file.
func (e *sqliteEngine) growth() (int64, error) {
	e.lockWriter() // readers may have been busy for long
	defer e.unlockWriter()
	var pages int64
	if err := e.connection.QueryRowContext(context.Background(), `PRAGMA page_count`).Scan(&pages); err != nil {
		return 0, fmt.Errorf("count the pages: %w", err)
	}
	file, err := statFile(e.path)
	return max(0, pages*pageSize-file.size), err
}
