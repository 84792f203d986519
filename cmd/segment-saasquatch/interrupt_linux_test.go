package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterrupt ends each command that reads with one signal, whatever it waits for.
func TestInterrupt(t *testing.T) {
	inputs := map[string]func(t *testing.T) (stdin io.Reader, source string, waits string){
		"a FIFO without a writer": func(t *testing.T) (io.Reader, string, string) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // ends the goroutine that is left
				if writer, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
					writer.Close()
				}
			})
			return nil, fifo, "syscall.openat("
		},
		"a FIFO whose writer is silent": func(t *testing.T) (io.Reader, string, string) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			writer, err := os.OpenFile(fifo, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { writer.Close() })
			return nil, fifo, "os.(*File).Read("
		},
		"standard input": func(t *testing.T) (io.Reader, string, string) {
			reader, writer := io.Pipe()
			t.Cleanup(func() { writer.Close() })
			return reader, "-", "io.(*pipe).read("
		},
		"a terminal": func(t *testing.T) (io.Reader, string, string) {
			terminal := newTerminal(t, `{"type":"page"}`+"\n")
			return terminal, "-", "os.(*File).Read("
		},
		"a bucket that stalls": func(t *testing.T) (io.Reader, string, string) {
			stalled := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-stalled:
				case <-r.Context().Done():
				}
			}))
			t.Cleanup(func() { close(stalled); server.Close() })
			t.Setenv("AWS_ACCESS_KEY_ID", "key")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
			return nil, "s3://bucket/folder/?region=us-east-1&use_path_style=true&endpoint=" + server.URL,
				"archive.(*bucket).page("
		},
	}
	commands := [][]string{
		{"map"}, {"replay", "--dry-run", "--progress", "none"},
		{"replay", "--progress", "none", "--yes"}, {"migrate-check"},
		{"replay", "--via", "import", "--progress", "none", "--out"},
	}
	sandbox := startSandbox(t)
	for name, input := range inputs {
		for _, command := range commands {
			t.Run(name+" "+strings.Join(command, " "), func(t *testing.T) {
				stdin, source, waits := input(t)
				args := append([]string{}, command...)
				if args[len(args)-1] == "--out" {
					args = append(args, filepath.Join(t.TempDir(), "out"))
				}
				checkInterrupt(t, replayEnv(sandbox, t.TempDir()), stdin, waits, append(args, source)...)
			})
		}
	}
	t.Run("a file of users", func(t *testing.T) {
		_, fifo, waits := inputs["a FIFO without a writer"](t)
		checkInterrupt(t, replayEnv(sandbox, t.TempDir()), nil, waits, "replay", "--dry-run", "--user-file", fifo, "-")
	})
	t.Run("a question", func(t *testing.T) {
		env, _ := storeWithDeliveries(t)
		var list []string
		for name, value := range env {
			list = append(list, name+"="+value)
		}
		checkInterrupt(t, list, newTerminal(t, ""), "os.(*File).Read(", "deliveries", "purge", "--outcome", "dead")
	})
}

// checkInterrupt runs a command until it waits in a function, and ends it there.
func checkInterrupt(t *testing.T, env []string, stdin io.Reader, waits string, args ...string) {
	t.Helper()
	lookup := func(name string) (string, bool) {
		for _, variable := range env {
			if value, ok := strings.CutPrefix(variable, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout, stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, lookup, stdin, &stdout, &stderr) }()
	deadline := time.After(20 * time.Second)
	stacks := make([]byte, 1<<20)
	for !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), waits) {
		select {
		case code := <-ended:
			t.Fatalf("exit code %d before it was interrupted: %s", code, &stderr)
		case <-deadline:
			t.Fatalf("it does not wait in %s", waits)
		case <-time.After(time.Millisecond):
		}
	}
	interrupt()
	select {
	case code := <-ended:
		if code != exitInterrupted {
			t.Errorf("exit code %d, want %d: %s", code, exitInterrupted, &stderr)
		}
	case <-deadline:
		t.Fatal("it does not end")
	}
}

// TestSignalDuringAFIFO sends the built program a signal while it opens a FIFO.
func TestSignalDuringAFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, replayEnv("http://127.0.0.1:1", t.TempDir()), "replay", "--dry-run", "--progress", "json", fifo)
	p.stderr.await(t, `"lines":0`)
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}
