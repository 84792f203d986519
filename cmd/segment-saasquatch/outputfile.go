package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// outputFile is a file that appears once it is complete, or not at all.
type outputFile struct {
	option string // its name in messages, such as --out
	name   string
	force  bool // it may replace a regular file
}

// check returns why the file cannot be written, before the command begins its work. Inputs are the files and
// directories that the command reads. Even with force, it refuses an input and a file in such a directory.
func (o *outputFile) check(inputs []string) error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%s is %s, "+format, append([]any{o.option, o.name}, args...)...)
	}
	there, err := os.Lstat(o.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if dir, err := os.Stat(filepath.Dir(o.name)); err != nil || !dir.IsDir() {
			return fault("whose directory does not exist: make it, or name another file")
		}
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", o.option, err)
	case !there.Mode().IsRegular():
		return fault("which is not a regular file: name a file that does not exist")
	}
	for _, input := range inputs {
		if reads(input, o.name, there) {
			return fault("which the command reads: name another file")
		}
	}
	if !o.force {
		return fault("which exists: name another file, or add --force to replace it")
	}
	return nil
}

// reads reports whether a command that reads the input reads the file.
func reads(input, name string, there fs.FileInfo) bool {
	paths, err := filepath.Glob(input)
	if err != nil || len(paths) == 0 {
		paths = []string{input}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue // not a file: a bucket, or standard input
		}
		if os.SameFile(info, there) || info.IsDir() && isInside(path, name) {
			return true
		}
	}
	return false
}

// isInside reports whether the file is in the directory or below it.
func isInside(dir, name string) bool {
	dir, err := resolved(dir)
	if err != nil {
		return false
	}
	name, err = resolved(name)
	if err != nil {
		return false
	}
	relative, err := filepath.Rel(dir, name)
	return err == nil && filepath.IsLocal(relative)
}

// resolved returns the absolute path without symbolic links.
func resolved(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// write writes the file. The temporary file is new, has a random name, and only its owner can read it.
func (o *outputFile) write(write func(io.Writer) error) error {
	return o.fill(func(file *os.File) error {
		out := bufio.NewWriterSize(file, 64<<10)
		return errors.Join(write(out), out.Flush(), file.Sync())
	})
}

// fill is write for a function that needs the file itself.
func (o *outputFile) fill(fill func(*os.File) error) error {
	file, err := os.CreateTemp(filepath.Dir(o.name), "."+filepath.Base(o.name)+"-*.partial")
	if err != nil {
		return err
	}
	if err = errors.Join(fill(file), file.Close()); err == nil {
		err = o.publish(file.Name())
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// publish gives the complete file its name. Without force it replaces no file that has appeared since check: a
// link, unlike a renaming, fails then. The hole: on a file system without links another process may create the
// file between the last look and the renaming.
func (o *outputFile) publish(partial string) error {
	taken := fmt.Errorf("%s was made meanwhile, and is kept: name another file", o.name)
	if !o.force {
		switch err := os.Link(partial, o.name); {
		case err == nil:
			return os.Remove(partial)
		case errors.Is(err, fs.ErrExist):
			return taken
		}
	}
	there, err := os.Lstat(o.name)
	switch {
	case err == nil && (!o.force || !there.Mode().IsRegular()):
		return taken
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return os.Rename(partial, o.name)
}
