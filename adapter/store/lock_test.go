package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter/store"
)

// holdStore opens the store in another process, which is this test again, and returns
// it. It holds the store until the test ends or kills it.
func holdStore(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	other := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$")
	other.Env = append(os.Environ(), "TEST_HOLD_STORE="+path)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = other.Process.Kill()
		_ = other.Wait() // it may have been killed before
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "holding\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return other
}

// holdUntilTheEnd is what the other process does.
func holdUntilTheEnd(t *testing.T, path string) {
	opts := store.Options{Path: path}
	reserve := os.Getenv("TEST_RESERVE")
	if reserve != "" {
		size, err := strconv.ParseInt(reserve, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		opts.Limits.FreeDisk = size
	}
	q := connection(t, open(t, opts), "default", "tenant")
	accept(t, q, event("message-1"))
	if reserve != "" {
		acceptUntilFull(t, q)
	}
	fmt.Println("holding")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
}

// bind mounts the file at from a second time.
func bind(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("mount", "--bind", from, to).CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("cannot mount: %v: %s", err, out)
		}
		t.Skipf("SKIP: run as root to mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", to).Run() }) // unless the test has done so
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestOneFileByAnyName opens a database a second time by every name that it can have,
// while this process or another one has it. Only one may deliver from it.
func TestOneFileByAnyName(t *testing.T) {
	mustDo := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(t *testing.T, path string) {
		t.Helper()
		mustDo(t, os.WriteFile(path, nil, 0o600))
	}
	names := map[string]struct {
		name func(t *testing.T, dir, path string) string
		// otherLog is set where SQLite would look for another log than the server's.
		otherLog bool
		linux    bool
	}{
		"the same": {name: func(_ *testing.T, _, path string) string { return path }},
		"dots": {name: func(_ *testing.T, dir, _ string) string {
			return filepath.Dir(dir) + "/" + filepath.Base(dir) + "/./data/../data//adapter.db"
		}},
		"relative": {name: func(t *testing.T, _, path string) string {
			here, err := os.Getwd()
			mustDo(t, err)
			relative, err := filepath.Rel(here, path)
			mustDo(t, err)
			return relative
		}},
		"a symlink to the file": {name: func(t *testing.T, dir, path string) string {
			mustDo(t, os.Symlink(path, filepath.Join(dir, "link.db")))
			return filepath.Join(dir, "link.db")
		}},
		"a symlink to a symlink": {name: func(t *testing.T, dir, path string) string {
			mustDo(t, os.Symlink(path, filepath.Join(dir, "data", "first.db")))
			mustDo(t, os.Symlink("data/first.db", filepath.Join(dir, "second.db")))
			return filepath.Join(dir, "second.db")
		}},
		"a symlink to the directory": {name: func(t *testing.T, dir, _ string) string {
			mustDo(t, os.Symlink("data", filepath.Join(dir, "link")))
			return filepath.Join(dir, "link", "adapter.db")
		}},
		"the lock file was deleted": {linux: true, name: func(t *testing.T, _, path string) string {
			mustDo(t, os.Remove(path+".lock"))
			return path
		}},
		"the lock file was replaced": {linux: true, name: func(t *testing.T, _, path string) string {
			mustDo(t, os.Rename(path+".lock", path+".old"))
			write(t, path+".lock")
			return path
		}},
		"a hard link": {otherLog: true, linux: true, name: func(t *testing.T, dir, path string) string {
			mustDo(t, os.Link(path, filepath.Join(dir, "hard.db")))
			return filepath.Join(dir, "hard.db")
		}},
		"the system's name of an open directory": {linux: true, name: func(t *testing.T, _, path string) string {
			directory, err := os.Open(filepath.Dir(path))
			mustDo(t, err)
			t.Cleanup(func() { _ = directory.Close() })
			return fmt.Sprintf("/proc/self/fd/%d/adapter.db", directory.Fd())
		}},
		"a mount of the directory": {linux: true, name: func(t *testing.T, dir, path string) string {
			mustDo(t, os.Mkdir(filepath.Join(dir, "mount"), 0o700))
			bind(t, filepath.Dir(path), filepath.Join(dir, "mount"))
			return filepath.Join(dir, "mount", "adapter.db")
		}},
		"a mount of the file": {otherLog: true, linux: true, name: func(t *testing.T, dir, path string) string {
			write(t, filepath.Join(dir, "mounted.db"))
			bind(t, path, filepath.Join(dir, "mounted.db"))
			return filepath.Join(dir, "mounted.db")
		}},
	}
	for name, test := range names {
		t.Run(name, func(t *testing.T) {
			if test.linux && runtime.GOOS != "linux" {
				t.Skip("SKIP: start it on Linux, where the database itself is locked")
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "data", "adapter.db")
			holder := holdStore(t, path)
			second := test.name(t, dir, path)
			s, err := store.Open(context.Background(), store.Options{Path: second})
			if err == nil {
				t.Error("two processes deliver from one file")
				_ = s.Close()
			} else if inUse, ok := errors.AsType[*store.InUseError](err); !ok {
				t.Errorf("got %v", err)
			} else if inUse.PID != 0 && inUse.PID != holder.Process.Pid {
				t.Errorf("process %d is said to have it, not %d", inUse.PID, holder.Process.Pid)
			}
			// Commands go on beside the server, except where they would take no notice of it.
			operator, err := store.Open(context.Background(), store.Options{Path: second, Shared: true})
			switch {
			case err == nil && test.otherLog:
				t.Error("opened beside the server, with another log")
			case err != nil && !test.otherLog:
				t.Errorf("beside the server: %v", err)
			}
			if err == nil {
				if totals, err := operator.Totals(context.Background()); err != nil || len(totals) != 1 ||
					totals[0].Accepted != 1 {
					t.Errorf("beside the server: %+v, %v", totals, err)
				}
				if err := operator.Close(); err != nil {
					t.Error(err)
				}
			}
			_ = holder.Process.Kill()
			_ = holder.Wait() // it was killed
			s, err = store.Open(context.Background(), store.Options{Path: path})
			if name == "a hard link" {
				if err == nil {
					t.Error("a database of two names was opened")
				}
				mustDo(t, os.Remove(second))
				s, err = store.Open(context.Background(), store.Options{Path: path})
			}
			if err != nil {
				t.Fatalf("the server has ended: %v", err)
			}
			defer s.Close()
			// Of this process too, and nothing is taken from the first one by the attempt.
			if _, err := store.Open(context.Background(), store.Options{Path: path}); !errors.As(err,
				new(*store.InUseError)) {
				t.Errorf("opened twice in a process: %v", err)
			}
			if got := accept(t, connection(t, s, "default", "tenant"),
				event("message-1")); got != "duplicate already_accepted" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestOlderServer opens a database that a program holds which locks its companion only.
func TestOlderServer(t *testing.T) {
	opts := sqliteOptions(t)
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(opts.Path, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{opts.Path, link} { // what the older one was given
		lock, err := os.OpenFile(name+".lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			t.Fatal(err)
		}
		for path, refused := range map[string]bool{opts.Path: name == opts.Path, link: true} {
			s, err := store.Open(context.Background(), store.Options{Path: path})
			if err == nil {
				err = s.Close()
			}
			if _, inUse := errors.AsType[*store.InUseError](err); inUse != refused || !refused && err != nil {
				t.Errorf("the older program has %s, opened %s: %v", filepath.Base(name), filepath.Base(path), err)
			}
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
