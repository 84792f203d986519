package replay_test

import (
	"bufio"
	stdgzip "compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/replaytest"

	"github.com/klauspost/compress/gzip"

	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/replay"
)

// benchBytes is the size of the log of the benchmarks.
const benchBytes = 64 << 20

// writeLog writes a log of n bytes in files of equal size.
func writeLog(b *testing.B, dir string, n int64, files int) {
	b.Helper()
	for i := range files {
		file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.gz", i)))
		if err != nil {
			b.Fatal(err)
		}
		packed := gzip.NewWriter(file)
		if _, _, err := archivetest.WriteLog(packed, n/int64(files), uint64(i)); err != nil {
			b.Fatal(err)
		}
		if err := packed.Close(); err != nil {
			b.Fatal(err)
		}
		if err := file.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay compares a dry run and the writing of import files with decompression of the same files, on one
// processor and on two. The metrics are shares of the speed of decompression on one processor: by the standard
// library, and by the faster library of the archive package.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	writeLog(b, dir, benchBytes, 4)
	spec := &replay.Spec{Sources: []string{dir}, Via: replay.ViaImport,
		Filter: replay.Filter{Integrations: replay.DefaultIntegrations}}
	opts := replay.Options{Mapper: replaytest.NewMapper(b),
		Now: func() time.Time { return time.Date(2026, 10, 6, 0, 0, 0, 0, time.UTC) }}
	var plain, fast float64
	run := func(name string, procs int, once func(b *testing.B)) {
		b.Run(fmt.Sprintf("%s/procs=%d", name, procs), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			b.SetBytes(benchBytes)
			for b.Loop() {
				once(b)
			}
			took := float64(b.Elapsed()) / float64(b.N)
			switch {
			case name == "gunzip":
				plain = took
			case name == "fast-gunzip":
				fast = took
			case plain > 0 && fast > 0:
				b.ReportMetric(plain/took, "of-gunzip")
				b.ReportMetric(fast/took, "of-fast-gunzip")
			}
		})
	}
	run("gunzip", 1, func(b *testing.B) {
		gunzip(b, dir, func(in io.Reader) (io.Reader, error) { return stdgzip.NewReader(in) })
	})
	run("fast-gunzip", 1, func(b *testing.B) {
		gunzip(b, dir, func(in io.Reader) (io.Reader, error) { return gzip.NewReader(in) })
	})
	for _, procs := range []int{1, 2} {
		run("dry-run", procs, func(b *testing.B) {
			err := replaytest.Read(b, spec, nil, nil, func(blocks replay.Blocks) error {
				_, err := replay.Count(context.Background(), spec, blocks, opts)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		})
		run("import-out", procs, func(b *testing.B) {
			out := filepath.Join(b.TempDir(), "out")
			err := replaytest.Read(b, spec, nil, nil, func(blocks replay.Blocks) error {
				_, err := replay.WriteFiles(context.Background(), spec, blocks, out, opts, replay.FileLimits{})
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			if err := os.RemoveAll(out); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func gunzip(b *testing.B, dir string, unpack func(io.Reader) (io.Reader, error)) {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.gz"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		unpacked, err := unpack(bufio.NewReaderSize(file, 256<<10))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(onlyWriter{}, unpacked, make([]byte, 256<<10)); err != nil {
			b.Fatal(err)
		}
		if err := file.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// onlyWriter discards its input. It has no ReadFrom, which would read in its own way.
type onlyWriter struct{}

func (onlyWriter) Write(p []byte) (int, error) { return len(p), nil }
