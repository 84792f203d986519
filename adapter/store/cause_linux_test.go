package store_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// refusal is how the system refuses what the store asks of it.
type refusal struct {
	begin func(t *testing.T)
	// running says that it begins behind the opening of the store.
	running bool
	want    string
}

var refusals = map[string]refusal{
	"no locks on files": {begin: refuse(unix.ENOLCK, unix.SYS_FLOCK),
		want: "the file system has no locks: lock the store:"},
	"locks not implemented": {begin: refuse(unix.ENOSYS, unix.SYS_FLOCK), want: "such as NFS"},
	"locks not supported":   {begin: refuse(unix.EOPNOTSUPP, unix.SYS_FLOCK), want: "PostgreSQL"},
	"no locks on parts":     {begin: refuse(unix.ENOLCK, unix.SYS_FCNTL), want: "the file system has no locks"},
	"quota":                 {begin: refuse(unix.EDQUOT, unix.SYS_PWRITE64), running: true, want: "raise the quota"},
	"broken disk":           {begin: refuse(unix.EIO, unix.SYS_PWRITE64), running: true, want: "the kernel's log"},
	"broken sync": {begin: refuse(unix.EIO, unix.SYS_FSYNC, unix.SYS_FDATASYNC), running: true,
		want: "the disk reports an error"},
	"size of files":        {begin: limit(unix.RLIMIT_FSIZE, 1<<20), running: true, want: "ulimit -f"},
	"open files":           {begin: refuse(unix.EMFILE, unix.SYS_OPENAT, unix.SYS_OPENAT2), want: "ulimit -n"},
	"files of the machine": {begin: refuse(unix.ENFILE, unix.SYS_OPENAT, unix.SYS_OPENAT2), want: "fs.file-max"},
	"permission": {begin: refuse(unix.EACCES, unix.SYS_OPENAT, unix.SYS_OPENAT2),
		want: "must be able to write"},
	"no shared memory": {begin: refuseMapping, want: "such as NFS"},
}

// TestCauses has the system refuse what the store asks of it, in a process of its own:
// the error says what the operator can do.
func TestCauses(t *testing.T) {
	if name := os.Getenv("TEST_REFUSE"); name != "" {
		reportCause(t, refusals[name])
		return
	}
	for name, r := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := exec.Command(os.Args[0], "-test.run=^TestCauses$", "-test.v")
			child.Env = append(os.Environ(), "TEST_REFUSE="+name, "TEST_REFUSE_DIR="+t.TempDir())
			out, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if !strings.Contains(string(out), r.want) {
				t.Errorf("no %q in %s", r.want, out)
			}
		})
	}
}

// reportCause opens a store, where the refusal is to begin behind that, and prints what
// goes wrong.
func reportCause(t *testing.T, r refusal) {
	opts := store.Options{Path: filepath.Join(os.Getenv("TEST_REFUSE_DIR"), "adapter.db")}
	if !r.running {
		r.begin(t)
		_, err := store.Open(context.Background(), opts)
		t.Logf("open: %v", err)
		return
	}
	s, err := store.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"))
	r.begin(t)
	for i := range 1000 { // what has been allocated already is used up
		err := q.Accept(context.Background(), arrivals(i*100, 100))
		if err == nil {
			continue
		}
		if unavailable, ok := errors.AsType[*adapter.UnavailableError](err); !ok ||
			!strings.Contains(s.Ready().Error(), unavailable.Message) {
			t.Errorf("ready: %v, but %v", s.Ready(), err)
		}
		t.Logf("accept: %v", err)
		return
	}
	t.Error("nothing goes wrong")
}

// limit lowers a limit of the process.
func limit(resource int, to uint64) func(*testing.T) {
	return func(t *testing.T) {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: to, Max: to}); err != nil {
			t.Fatal(err)
		}
	}
}

// refuse has system calls of this process fail from now on, with this error.
func refuse(errno unix.Errno, calls ...uint32) func(*testing.T) {
	return func(t *testing.T) {
		var program []unix.SockFilter
		program = append(program, load(0))
		for _, call := range calls {
			program = append(program, unless(call, 1), give(unix.SECCOMP_RET_ERRNO|uint32(errno)))
		}
		filter(t, append(program, give(unix.SECCOMP_RET_ALLOW)))
	}
}

// refuseMapping has files not be mapped to memory that is shared.
func refuseMapping(t *testing.T) {
	const flags = 16 + 3*8 // the fourth argument
	filter(t, []unix.SockFilter{
		load(0), unless(unix.SYS_MMAP, 3),
		load(flags), unless(unix.MAP_SHARED, 1),
		give(unix.SECCOMP_RET_ERRNO | uint32(unix.ENODEV)),
		give(unix.SECCOMP_RET_ALLOW),
	})
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// unless skips so many instructions where another value was loaded.
func unless(value uint32, skip uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
}

func give(answer uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: answer}
}

// filter installs a seccomp filter in all threads.
func filter(t *testing.T, program []unix.SockFilter) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	list := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&list)))
	if errno != 0 {
		t.Fatalf("install a seccomp filter: %v", errno)
	}
}
