package archive

import (
	"cmp"
	"context"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// local is the file system. Symbolic links are followed.
type local struct{}

// list yields the entries of a directory. An entry that cannot be inspected, such as a broken
// symbolic link, and a directory that cannot be read are objects that cannot be opened. The others
// are read nevertheless.
func (l local) list(ctx context.Context, folder string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		found, err := os.ReadDir(folder)
		if err != nil {
			yield(entry{name: filepath.Base(folder), object: Object{Key: folder, Size: -1, store: l, name: folder,
				fault: err}}, nil)
			return
		}
		entries := make([]entry, 0, len(found))
		for _, d := range found {
			entries = append(entries, l.entry(filepath.Join(folder, d.Name())))
		}
		// A bucket sorts a folder by its name with the slash.
		slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.sortKey(), b.sortKey()) })
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield(entry{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (e entry) sortKey() string {
	if e.folder {
		return e.name + "/"
	}
	return e.name
}

func (l local) entry(path string) entry {
	info, err := os.Stat(path)
	e := entry{name: filepath.Base(path), object: Object{Key: path, Size: -1, store: l, name: path, fault: err}}
	switch {
	case err != nil:
	case info.IsDir():
		e.folder = true
	case info.Mode().IsRegular():
		e.object.Size = info.Size()
		e.object.Version = strconv.FormatInt(info.Size(), 10) + "-" + strconv.FormatInt(info.ModTime().UnixNano(), 10)
		e.object.modified = info.ModTime()
	default:
		e.irregular = true
	}
	return e
}

func (local) holds(_ context.Context, folder, name string) (bool, error) {
	info, err := os.Stat(filepath.Join(folder, name))
	return err == nil && info.IsDir(), nil
}

func (local) below(folder, name string) string { return filepath.Join(folder, name) }

func (local) shown(folder string) string { return folder }

func (local) path(name string) string {
	if absolute, err := filepath.Abs(name); err == nil {
		name = absolute
	}
	return filepath.ToSlash(name)
}

func (l local) identity(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	return l.path(name)
}

func (local) open(ctx context.Context, o Object) (io.ReadCloser, error) {
	if o.fault != nil {
		return nil, o.fault
	}
	file, err := openFile(ctx, o)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !o.modified.IsZero() &&
		(info.Size() != o.Size || !info.ModTime().Equal(o.modified)) {
		_ = file.Close()
		if err == nil {
			err = ErrChanged
		}
		return nil, err
	}
	// A read from a pipe ends only with its last writer, or when the pipe is closed.
	return &closedByContext{File: file, stop: context.AfterFunc(ctx, func() { _ = file.Close() })}, nil
}

// openFile opens a file. Opening a pipe waits for its first writer, and no system call ends that
// wait: when the context ends, the wait is abandoned.
func openFile(ctx context.Context, o Object) (*os.File, error) {
	if !o.modified.IsZero() { // a regular file
		return os.Open(o.name)
	}
	type opened struct {
		file *os.File
		err  error
	}
	result := make(chan opened, 1)
	go func() {
		file, err := os.Open(o.name)
		result <- opened{file, err}
	}()
	select {
	case r := <-result:
		return r.file, r.err
	case <-ctx.Done():
		go func() {
			if r := <-result; r.err == nil {
				_ = r.file.Close() // nothing was read from it
			}
		}()
		return nil, ctx.Err()
	}
}

// closedByContext is a file that is closed when a context ends.
type closedByContext struct {
	*os.File
	stop func() bool
}

func (f *closedByContext) Close() error {
	f.stop()
	return f.File.Close()
}

// glob returns the paths that a pattern matches. As in a shell, a wildcard matches
// no leading dot.
func glob(pattern string) ([]string, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	dotted := filepath.Base(pattern)[0] == '.'
	return slices.DeleteFunc(paths, func(path string) bool { return filepath.Base(path)[0] == '.' && !dotted }), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil || !os.IsNotExist(err)
}
