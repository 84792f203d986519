package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
)

var now = time.Date(2026, 10, 7, 20, 0, 0, 0, time.UTC)

// check compares the result of reading with the list of an archive.
func check(t testing.TB, want *archivetest.Archive, g got, prefix string) {
	t.Helper()
	lines := make(map[string][]string)
	for _, line := range want.Lines {
		if !line.Tail && line.Text != "" {
			lines[prefix+line.Key] = append(lines[prefix+line.Key], line.Text)
		}
	}
	logs := 0
	for _, file := range want.Files {
		key := prefix + file.Key
		if !file.Log {
			continue
		}
		logs++
		if !slices.Equal(g.lines[key], lines[key]) {
			t.Errorf("%s: %d lines, want %d", key, len(g.lines[key]), len(lines[key]))
		}
		fault := map[archivetest.Damage]error{archivetest.Truncated: archive.ErrTruncated,
			archivetest.Corrupt: archive.ErrCorrupt, archivetest.BadChecksum: archive.ErrCorrupt}[file.Damage]
		if (fault == nil) != (g.fault[key] == nil) || fault != nil && !errors.Is(g.fault[key], fault) {
			t.Errorf("%s: %v, want %v", key, g.fault[key], fault)
		}
		if fault == nil && g.taken[key] != int64(len(file.Content)) {
			t.Errorf("%s: %d of %d bytes", key, g.taken[key], len(file.Content))
		}
	}
	if len(g.keys) != logs {
		t.Errorf("%d objects, want %d", len(g.keys), logs)
	}
}

func TestArchive(t *testing.T) {
	made := archivetest.Generate(archivetest.Options{Now: now, EventsPerDay: 800, Days: 4})
	dir := t.TempDir()
	made.WriteDir(t, dir)
	for _, ahead := range []int{0, 1, 2, 16} {
		g := readAll(t, open(t, archive.Options{}, dir), archive.ReadOptions{Ahead: ahead})
		check(t, made, g, dir+"/")
		var order []string
		for _, line := range made.Lines {
			if key := filepath.Join(dir, line.Key); len(order) == 0 || order[len(order)-1] != key {
				order = append(order, key)
			}
		}
		if !slices.Equal(g.keys, order) {
			t.Errorf("ahead %d: objects are not in order: %q", ahead, g.keys)
		}
	}
}

// endless yields lines without end, and counts the bytes.
type endless struct{ n atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	line := strings.Repeat("a line of some length, of which there is no end ", 4) + "\n"
	n := copy(p, bytes.Repeat([]byte(line), 1+len(p)/len(line)))
	e.n.Add(int64(n))
	return n, nil
}

// TestBounded lets readers run ahead of a consumer that takes nothing. synctest checks that
// nothing is left running.
func TestBounded(t *testing.T) {
	t.Run("blocks of an object", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			stdin := new(endless)
			a := open(t, archive.Options{Stdin: stdin}, "-")
			r := a.Read(t.Context(), archive.ReadOptions{Ahead: 100})
			synctest.Wait()
			// Three blocks wait, one is in hand, and a part of the next is read.
			if n := stdin.n.Load(); n < 3*archive.BlockSize || n > 6*archive.BlockSize {
				t.Errorf("%d bytes are read ahead", n)
			}
			for range 5 {
				b, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				b.Release()
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("objects", func(t *testing.T) {
		dir := t.TempDir()
		for i := range 100 {
			write(t, filepath.Join(dir, fmt.Sprintf("%03d.gz", i)), zipped(t, strings.Repeat("a line\n", 100)))
		}
		for _, ahead := range []int{1, 4, 200} {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				r := open(t, archive.Options{}, dir).Read(t.Context(),
					archive.ReadOptions{Ahead: ahead, Resume: func(archive.Object) (int64, bool) {
						asked.Add(1)
						return 0, false
					}})
				synctest.Wait()
				if n := asked.Load(); n != int64(min(ahead+1, 100)) { // the one in hand has been asked for
					t.Errorf("ahead %d: %d objects", ahead, n)
				}
				for range 3 {
					b, err := r.Next()
					if err != nil || !b.End {
						t.Fatal(b, err)
					}
					b.Release()
				}
				synctest.Wait()
				if n := asked.Load(); n != int64(min(ahead+4, 100)) {
					t.Errorf("ahead %d: %d objects when three are consumed", ahead, n)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func TestCancelledReader(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		write(t, filepath.Join(dir, fmt.Sprint(i, ".gz")), zipped(t, strings.Repeat("some line or other\n", 100_000)))
	}
	for taken := range 12 {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r := open(t, archive.Options{}, dir).Read(ctx, archive.ReadOptions{Ahead: 3})
			for range taken {
				b, err := r.Next()
				if err != nil || b.Err != nil {
					t.Fatal(err, b.Err)
				}
				b.Release()
			}
			cancel()
			synctest.Wait() // for readers to notice
			for {
				b, err := r.Next()
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("error %v", err)
					}
					break
				}
				if b.Err != nil {
					t.Errorf("our stopping is an error of the object: %v", b.Err)
				}
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPipe reads pipes that were named, as a shell's process substitution names them.
func TestPipe(t *testing.T) {
	pipe := func() (path string, to *os.File) {
		from, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = from.Close() })
		t.Cleanup(func() { _ = to.Close() })
		path = fmt.Sprint("/dev/fd/", from.Fd())
		if _, err := os.Stat(path); err != nil {
			t.Skip("SKIP: this system has no /dev/fd")
		}
		if _, err := to.Write(zipped(t, "a\nb\n")); err != nil {
			t.Fatal(err)
		}
		return path, to
	}
	path, to := pipe()
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if g := readAll(t, open(t, archive.Options{}, path), archive.ReadOptions{}); g.fault[path] != nil ||
		!slices.Equal(g.lines[path], []string{"a", "b"}) {
		t.Errorf("%q, %v", g.lines, g.fault)
	}
	// A pipe without an end: Close does not wait for it.
	path, _ = pipe()
	if err := open(t, archive.Options{}, path).Read(t.Context(), archive.ReadOptions{}).Close(); err != nil {
		t.Error(err)
	}
}

// TestKeptBlocks keeps all blocks. Their bytes must not change.
func TestKeptBlocks(t *testing.T) {
	var text strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	r := open(t, archive.Options{Stdin: bytes.NewReader(zipped(t, text.String()))}, "-").Read(t.Context(),
		archive.ReadOptions{})
	var kept [][]byte
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil || b.Err != nil {
			t.Fatal(err, b.Err)
		}
		kept = append(kept, b.Data)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if len(kept) < 5 || string(bytes.Join(kept, nil)) != text.String() {
		t.Errorf("%d blocks with other bytes", len(kept))
	}
}
