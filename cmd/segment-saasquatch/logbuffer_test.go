package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"segment-saasquatch/adapter/config"
)

// stoppedWriter blocks until the test lets it go on.
type stoppedWriter struct {
	goOn chan struct{}
	bytes.Buffer
	calls int
}

func (w *stoppedWriter) Write(p []byte) (int, error) {
	<-w.goOn
	w.calls++
	return w.Buffer.Write(p)
}

// TestLogOfAStoppedReader checks that lines beyond the limit are dropped, counted, and reported at their place. All
// other lines come whole and in order.
func TestLogOfAStoppedReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stoppedWriter{goOn: make(chan struct{})}
		b := newLogBuffer(out)
		b.limit = 4000
		logger, err := newLogger(config.Log{Level: "error", Format: "json"}, b)
		if err != nil {
			t.Fatal(err)
		}
		logger.Error("first")
		synctest.Wait() // the goroutine writes the line
		const lines = 100
		for i := range lines {
			logger.Error("line", zap.Int("number", i))
		}
		if b.Dropped() == 0 || b.Dropped() >= lines {
			t.Fatalf("%d of %d lines are dropped", b.Dropped(), lines)
		}
		close(out.goOn)
		synctest.Wait()
		logger.Error("last")
		b.close(time.Minute)
		logger.Error("too late")

		kept := lines - int(b.Dropped()-1) // without the line after the end
		var want []string
		for i := range kept {
			want = append(want, fmt.Sprintf(`"msg":"line","number":%d}`, i))
		}
		want = append([]string{`"msg":"first"}`}, append(want, fmt.Sprintf(`"dropped":%d}`, lines-kept),
			`"msg":"last"}`)...)
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(got) != len(want) {
			t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), out.String())
		}
		for i := range want {
			if !strings.HasPrefix(got[i], `{"level":`) || !strings.HasSuffix(got[i], want[i]) {
				t.Errorf("line %d is %s, want …%s", i, got[i], want[i])
			}
		}
		if out.calls != 4 {
			t.Errorf("%d calls of Write, want 4: the first line, those that waited, the notice, and the "+
				"last line", out.calls)
		}
	})
}

// TestLogCloses checks that the end waits for the lines, but not for a stopped reader.
func TestLogCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stoppedWriter{goOn: make(chan struct{})}
		b := newLogBuffer(out)
		fmt.Fprintln(b, "line")
		began := time.Now()
		b.close(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("close took %s", took)
		}
		close(out.goOn)
		b.close(time.Hour)
		if out.String() != "line\n" {
			t.Errorf("%q was written", out.String())
		}
	})
}

// fullDisk accepts some bytes, fails, and then accepts everything.
type fullDisk struct {
	bytes.Buffer
	room int
}

func (w *fullDisk) Write(p []byte) (int, error) {
	if w.room < 0 || len(p) <= w.room {
		return w.Buffer.Write(p)
	}
	n, _ := w.Buffer.Write(p[:w.room])
	w.room = -1
	return n, errors.New("no space left on device")
}

// TestLogOnAFullDisk checks that a torn line does not spoil the next line.
func TestLogOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &fullDisk{room: 9}
		b := newLogBuffer(out)
		fmt.Fprint(b, "line 1\nline 2\nline 3\n")
		synctest.Wait()
		fmt.Fprintln(b, "line 4")
		b.close(time.Minute)
		if got, want := out.String(), "line 1\nli\nline 4\n"; got != want || b.Dropped() != 2 {
			t.Errorf("%d are dropped, and these are written: %q, want %q", b.Dropped(), got, want)
		}
	})
}

// TestServerWithAStoppedLog checks that a full pipe delays no answer, no delivery, no metric and not the end. Once
// the log is read again, it reports the missing lines.
func TestServerWithAStoppedLog(t *testing.T) {
	for _, reads := range []bool{false, true} {
		t.Run(fmt.Sprintf("read again %t", reads), func(t *testing.T) {
			t.Parallel()
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			sandbox := startSandbox(t)
			cmd := exec.Command(binary, "serve")
			cmd.Stderr = writer
			cmd.Env = append(replayEnv(sandbox, t.TempDir()),
				"LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=127.0.0.1:0", "LOG_FORMAT=json",
				"SEGMENT_SHARED_SECRET="+testSecret)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			writer.Close()
			const missingLines = `"msg":"lines of the log are missing`
			addresses, log := make(map[string]string), bufio.NewReader(reader)
			for addresses["serving"] == "" {
				line, err := log.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				for _, message := range []string{"admin", "serving"} {
					if _, rest, ok := strings.Cut(line, `"msg":"`+message+`","address":"`); ok {
						addresses[message], _, _ = strings.Cut(rest, `"`)
					}
				}
			}
			// The reader stops. The events log more than the pipe and the buffer hold.
			const batches, events = 25, 1000
			skipped := fmt.Sprintf(`{"type":"page","messageId":"%0240d"}`, 0)
			batch := []byte("[" + skipped + strings.Repeat(","+skipped, events-1) + "]")
			url := "http://" + addresses["serving"] + "/segment"
			for range batches {
				if got := post(t, url, testSecret, batch, batch); got.Status != http.StatusOK {
					t.Fatalf("%+v", got)
				}
			}
			delivered := track("delivered")
			if got := post(t, url, testSecret, delivered, delivered); got.Status != http.StatusOK {
				t.Fatalf("%+v", got)
			}
			awaitStats(t, sandbox, 1)
			metrics, err := http.Get("http://" + addresses["admin"] + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			defer metrics.Body.Close()
			text, err := io.ReadAll(metrics.Body)
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`(?m)^segment_saasquatch_log_lines_dropped_total [1-9]`).Match(text) {
				t.Error("no line is counted as dropped")
			}
			var rest []byte
			told, read := make(chan struct{}), make(chan struct{})
			if reads {
				go func() {
					defer close(read)
					for err := error(nil); err == nil; {
						var line []byte
						line, err = log.ReadBytes('\n')
						if rest = append(rest, line...); bytes.Contains(line, []byte(missingLines)) {
							close(told)
						}
					}
				}()
				select { // the end is logged only if there is room again if there is room again
				case <-told:
				case <-time.After(30 * time.Second):
					t.Error("the log does not tell that it lacks lines")
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
			if !reads {
				return
			}
			<-read
			if want := `"msg":"stopped"`; !bytes.Contains(rest, []byte(want)) {
				t.Errorf("the log has no %s", want)
			}
			for line := range bytes.Lines(rest) {
				if !bytes.HasPrefix(line, []byte(`{"level":`)) || !bytes.HasSuffix(line, []byte("}\n")) {
					t.Errorf("a line is not whole: %s", line)
				}
			}
		})
	}
}
