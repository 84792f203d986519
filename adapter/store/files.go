package store

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// fileID identifies a file under any name. No other file gets the id while a process has the file open.
type fileID struct{ device, inode uint64 }

// fileInfo is what the file system says about a file.
type fileInfo struct {
	id    fileID
	links uint64
	size  int64
}

func infoOf(stat *unix.Stat_t) fileInfo {
	return fileInfo{id: fileID{uint64(stat.Dev), uint64(stat.Ino)}, links: uint64(stat.Nlink), size: stat.Size}
}

// statFile looks up a file. Unlike os.Stat it returns the link count on every system.
func statFile(path string) (fileInfo, error) {
	var stat unix.Stat_t
	for {
		switch err := unix.Stat(path, &stat); err {
		case nil:
			return infoOf(&stat), nil
		case unix.EINTR:
		default:
			return fileInfo{}, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

// SQLite's files: the database, its write-ahead log and the index of the log.
const (
	databaseFile = iota
	logFile
	indexFile
	files
)

// Suffixes that SQLite appends to the name of the database.
const logSuffix, indexSuffix = "-wal", "-shm"

// databaseFiles checks that the files that SQLite has open are still those that a restart would open. SQLite itself
// never notices: it goes on writing to a file that has lost its name.
type databaseFiles struct {
	// names are the absolute names. The name of the database is the configured one, so that check notices a changed
	// symlink. SQLite names the other files after the target of the symlink.
	names  [files]string
	opened [files]fileID

	mu   sync.Mutex
	lost *FilesLostError // the last one
	seen [files]fileID   // the files that were there instead
}

// learn records the ids of the files. SQLite must have opened all of them.
func (f *databaseFiles) learn() error {
	for i, name := range f.names {
		info, err := statFile(name)
		if err != nil {
			return err
		}
		f.opened[i] = info.id
	}
	return nil
}

// check returns a *FilesLostError if a name no longer leads to its file. It costs three calls of stat. Before learn
// it finds no fault.
func (f *databaseFiles) check() error {
	if f.opened == ([files]fileID{}) {
		return nil
	}
	var seen [files]fileID
	for i, name := range f.names {
		info, err := statFile(name)
		if err != nil {
			info.id = fileID{} // no file has it
		}
		seen[i] = info.id
	}
	if seen == f.opened {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost == nil || seen != f.seen {
		f.lost, f.seen = f.describe(seen), seen
	}
	return f.lost
}

// FilesLostError means that the SQLite store's files were deleted, renamed or replaced
// while the store has them open.
type FilesLostError struct {
	// Files describes what happened to each lost file.
	Files []string
	// Remedy describes how to save events that only this process holds.
	Remedy string

	unnamed bool // the events have no file name any more
}

func (e *FilesLostError) Error() string { return strings.Join(e.Files, ", ") + ": " + e.Remedy }

// describe finds out what happened to the files, and their present names.
func (f *databaseFiles) describe(seen [files]fileID) *FilesLostError {
	held := heldFiles(f.opened)
	lost := &FilesLostError{}
	var moves []string
	movable, replaced := true, false
	for i, name := range f.names {
		if seen[i] == f.opened[i] {
			continue
		}
		what := " is gone"
		switch h := held[i]; {
		case seen[i] != fileID{}:
			what, replaced = " was replaced by another file", true
		case h.moved != "":
			what = " was moved"
		case h.deleted:
			what = " was deleted"
		case h.descriptor != "":
			what = " is out of reach, as of an unmounted disk"
		}
		lost.Files = append(lost.Files, name+what)
		if movable = movable && held[i].moved != ""; movable {
			moves = append(moves, fmt.Sprintf("mv '%s' '%s'", held[i].moved, name))
		}
	}
	switch {
	case movable && replaced:
		lost.Remedy = "put aside what stands there now and move it back; the store works again then: " +
			strings.Join(moves, " && ")
	case movable:
		lost.Remedy = "move it back; the store works again then: " + strings.Join(moves, " && ")
	case seen[databaseFile] == f.opened[databaseFile] && seen[logFile] == f.opened[logFile]:
		lost.Remedy = "no event is lost, but other processes cannot see the locks of this one: restart it"
	default:
		lost.Remedy, lost.unnamed = f.rescue(held), true
	}
	return lost
}

// rescue describes how to copy files that have no name any more.
func (f *databaseFiles) rescue(held [files]heldFile) string {
	text := fmt.Sprintf("accepted events are in process %d alone: before it ends, ", os.Getpid())
	if held[databaseFile].descriptor == "" || held[logFile].descriptor == "" {
		return text + "save them with `segment-saasquatch deliveries export --server` and its admin address"
	}
	directory, log := filepath.Split(f.names[logFile])
	name := strings.TrimSuffix(log, logSuffix)
	return text + fmt.Sprintf("save them with `mkdir SAVED && cp %s SAVED/'%s' && cp %s SAVED/'%s'`; "+
		"then end it, put both files into %s in place of the files there, and start it again",
		held[databaseFile].descriptor, name, held[logFile].descriptor, log, directory)
}

// heldFile is a file that this process has open.
type heldFile struct {
	// descriptor is a path that opens the file even without a name, empty if there is none.
	descriptor string
	deleted    bool
	moved      string // its present name, empty if unknown
}

// heldFiles looks for the files among the descriptors of this process. Only Linux lists them.
func heldFiles(ids [files]fileID) (held [files]heldFile) {
	process := fmt.Sprintf("/proc/%d/fd", os.Getpid())
	entries, err := os.ReadDir(process)
	if err != nil {
		return held
	}
	for _, entry := range entries {
		path := filepath.Join(process, entry.Name())
		info, err := statFile(path)
		if err != nil {
			continue
		}
		for i, id := range ids {
			if info.id != id || held[i].descriptor != "" {
				continue
			}
			held[i] = heldFile{descriptor: path, deleted: info.links == 0}
			if name, err := os.Readlink(path); err == nil && info.links > 0 {
				if there, err := statFile(name); err == nil && there.id == id {
					held[i].moved = name
				}
			}
		}
	}
	return held
}
