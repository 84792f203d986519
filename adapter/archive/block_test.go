package archive_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"segment-saasquatch/adapter/archive"
)

// TestShortLines checks that a block has a bounded number of lines, and that none is lost or
// misnumbered where it ends.
func TestShortLines(t *testing.T) {
	const short = 3*archive.BlockLines + 7
	lines := func(n int) string { return strings.Repeat("{}\n", n) }
	tooLong := strings.Repeat("x", archive.MaxLine+1) + "\n"
	for name, c := range map[string]struct {
		text   string
		damage int // bytes that are missing of the packed text
		lines  int64
	}{
		"lines":                  {lines(short), 0, short},
		"blank lines":            {strings.Repeat("\n", short), 0, short},
		"exactly one block":      {lines(archive.BlockLines), 0, archive.BlockLines},
		"without an end":         {lines(short) + "{}", 0, short + 1},
		"around a long line":     {lines(short) + tooLong + lines(short), 0, 2*short + 1},
		"entries of an array":    {"[" + strings.Repeat("{},", short) + "{}]", 0, short + 1},
		"a checksum that is cut": {lines(short), 4, short},
	} {
		t.Run(name, func(t *testing.T) {
			file := t.TempDir() + "/log.gz"
			packed := zipped(t, c.text)
			write(t, file, packed[:len(packed)-c.damage])
			for _, after := range []int64{0, 5, archive.BlockLines, archive.BlockLines + 1, c.lines} {
				reader := open(t, archive.Options{}, file).Read(t.Context(), archive.ReadOptions{
					Resume: func(archive.Object) (int64, bool) { return after, false },
				})
				next, bytes := min(after, c.lines), int64(0)
				for {
					b, err := reader.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if b.Count > archive.BlockLines+1 || b.Count > 0 && b.FirstLine != next+1 {
						t.Fatalf("after %d: %d lines from %d, want at most %d from %d", after, b.Count,
							b.FirstLine, archive.BlockLines, next+1)
					}
					if b.End && (b.Err != nil) != (c.damage > 0) {
						t.Errorf("after %d: %v", after, b.Err)
					}
					next, bytes = next+b.Count, bytes+b.Bytes
					b.Release()
				}
				if next != c.lines || bytes != int64(len(c.text)) {
					t.Errorf("after %d: read up to line %d, %d bytes; want %d, %d", after, next, bytes, c.lines,
						len(c.text))
				}
				if err := reader.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestShortLinesPromptly checks that lines do not wait for more lines.
func TestShortLinesPromptly(t *testing.T) {
	const lines = 2*archive.BlockLines + 1
	stdin, typed := io.Pipe()
	go func() { _, _ = fmt.Fprint(typed, strings.Repeat("1\n", lines)) }() // and no end
	reader := open(t, archive.Options{Stdin: stdin}, "-").Read(t.Context(), archive.ReadOptions{Prompt: true})
	for n := int64(0); n < lines; {
		b, err := reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		n += b.Count
		b.Release()
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
}
