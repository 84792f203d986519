package archive_test

import (
	"bufio"
	"bytes"
	stdlib "compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
)

// BenchmarkRead reads the lines of one object and of eight, in turn with decompressing the same
// bytes by the same library and nothing else. read/gunzip is the ratio of the fastest times of
// reading and decompressing, lines/gunzip that of iterating over the lines of blocks,
// stdlib/gunzip that of the standard library's gzip.
func BenchmarkRead(b *testing.B) {
	var log bytes.Buffer
	packer := gzip.NewWriter(&log)
	count, size, err := archivetest.WriteLog(packer, 32<<20, 1)
	if err != nil {
		b.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ objects, procs int }{{1, 1}, {1, 2}, {8, 1}, {8, 2}} {
		objects := c.objects
		b.Run(fmt.Sprintf("objects=%d/procs=%d", objects, c.procs), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.procs))
			dir := b.TempDir()
			for i := range objects {
				write(b, filepath.Join(dir, string(rune('a'+i))+".gz"), log.Bytes())
			}
			a := open(b, archive.Options{}, dir)
			var read, lines, gunzip, standard time.Duration
			texts := texts(b, a)
			for b.Loop() {
				started := time.Now()
				if n := countLines(b, a); n != count*int64(objects) {
					b.Fatalf("%d lines, want %d", n, count*int64(objects))
				}
				read = fastest(read, started)

				started = time.Now()
				for _, text := range texts {
					for line := range text.Lines() {
						if line.TooLong {
							b.Fatal("a line is too long")
						}
					}
				}
				lines = fastest(lines, started)

				started = time.Now()
				unpackAll(b, dir, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })
				gunzip = fastest(gunzip, started)

				started = time.Now()
				unpackAll(b, dir, func(r io.Reader) (io.Reader, error) { return stdlib.NewReader(r) })
				standard = fastest(standard, started)
			}
			b.ReportMetric(float64(read)/float64(gunzip), "read/gunzip")
			b.ReportMetric(float64(lines)/float64(gunzip), "lines/gunzip")
			b.ReportMetric(float64(standard)/float64(gunzip), "stdlib/gunzip")
			b.ReportMetric(float64(size)*float64(objects)/1e6/read.Seconds(), "read-MB/s")
			b.ReportMetric(0, "ns/op") // of all three together, which means nothing
		})
	}
}

func fastest(before time.Duration, started time.Time) time.Duration {
	if now := time.Since(started); before == 0 || now < before {
		return now
	}
	return before
}

func countLines(b *testing.B, a *archive.Archive) (n int64) {
	r := a.Read(b.Context(), archive.ReadOptions{})
	defer r.Close()
	for {
		block, err := r.Next()
		if err == io.EOF {
			return n
		}
		if err != nil || block.Err != nil {
			b.Fatal(err, block.Err)
		}
		for line := range block.Lines() {
			n++
			if line.TooLong {
				b.Fatal("a line is too long")
			}
		}
		block.Release()
	}
}

// texts returns all blocks of an archive.
func texts(b *testing.B, a *archive.Archive) (kept []*archive.Block) {
	r := a.Read(b.Context(), archive.ReadOptions{})
	defer r.Close()
	for {
		block, err := r.Next()
		if err == io.EOF {
			return kept
		}
		if err != nil {
			b.Fatal(err)
		}
		kept = append(kept, block)
	}
}

func unpackAll(b *testing.B, dir string, unpack func(io.Reader) (io.Reader, error)) {
	files, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, archive.BlockSize)
	for _, entry := range files {
		file, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			b.Fatal(err)
		}
		text, err := unpack(bufio.NewReaderSize(file, 64<<10))
		for err == nil {
			_, err = text.Read(buffer)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		if err := file.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
