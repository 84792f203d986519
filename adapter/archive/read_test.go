package archive_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter/archive"
)

// got is the result of reading an archive.
type got struct {
	keys  []string // in order
	lines map[string][]string
	first map[string]int64 // the number of the first line
	long  map[string][]int64
	fault map[string]error
	bytes map[string]int64
	taken map[string]int64
	count map[string]int64 // lines, blank ones too
}

// readAll reads an archive to its end, and checks each block.
func readAll(t testing.TB, a *archive.Archive, o archive.ReadOptions) got {
	t.Helper()
	r := a.Read(t.Context(), o)
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	g := got{lines: make(map[string][]string), first: make(map[string]int64), long: make(map[string][]int64),
		fault: make(map[string]error), bytes: make(map[string]int64), taken: make(map[string]int64),
		count: make(map[string]int64)}
	ended := true
	for {
		b, err := r.Next()
		if err == io.EOF {
			if !ended {
				t.Error("the last object has no last block")
			}
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		key := b.Object.Key
		if ended {
			g.keys = append(g.keys, key)
		}
		if last := g.keys[len(g.keys)-1]; last != key {
			t.Errorf("a block of %s comes before the end of %s", key, last)
		}
		last := b.FirstLine - 1
		for line := range b.Lines() {
			if line.Number <= last || line.Number >= b.FirstLine+b.Count {
				t.Errorf("%s: line %d behind line %d in a block of %d from %d", key, line.Number, last, b.Count,
					b.FirstLine)
			}
			last = line.Number
			if _, begun := g.first[key]; !begun {
				g.first[key] = line.Number
			}
			if line.TooLong {
				g.long[key] = append(g.long[key], line.Number)
				continue
			}
			g.lines[key] = append(g.lines[key], string(line.Text))
		}
		g.count[key] += b.Count
		g.bytes[key] += b.Bytes
		g.taken[key] += b.Stored
		if ended = b.End; ended {
			g.fault[key] = b.Err
		} else if b.Err != nil {
			t.Errorf("%s: error %v before the end", key, b.Err)
		}
		b.Release()
	}
}

func open(t testing.TB, o archive.Options, locations ...string) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), locations, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func write(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t testing.TB, members ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, member := range members {
		w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, member); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// readContent reads one object with that content.
func readContent(t testing.TB, content []byte, o archive.ReadOptions) (lines []string, g got, fault error) {
	t.Helper()
	g = readAll(t, open(t, archive.Options{Stdin: bytes.NewReader(content)}, "-"), o)
	if !slices.Equal(g.keys, []string{"-"}) {
		t.Fatalf("objects %q", g.keys)
	}
	return g.lines["-"], g, g.fault["-"]
}

// naive splits text into the lines that are not blank, in a simpler way.
func naive(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestContent(t *testing.T) {
	long := strings.Repeat("x", archive.MaxLine)
	middling := strings.Repeat("m", archive.BlockSize)
	tests := map[string]struct {
		text string
		want []string
		long []int64
	}{
		"nothing":                    {text: ""},
		"one line":                   {text: "a\n", want: []string{"a"}},
		"no end":                     {text: "a\nb", want: []string{"a", "b"}},
		"CRLF":                       {text: "a\r\nb\r\n", want: []string{"a", "b"}},
		"CR at the very end":         {text: "a\r", want: []string{"a"}},
		"blank lines":                {text: "\n\r\n \t\na\n\n\nb\n\n", want: []string{"a", "b"}},
		"byte order mark":            {text: "\ufeffa\nb\n", want: []string{"a", "b"}},
		"byte order mark only":       {text: "\ufeff"},
		"two marks":                  {text: "\ufeffa\n\ufeffb\n", want: []string{"a", "\ufeffb"}},
		"space around":               {text: " a \n", want: []string{" a "}},
		"a line of a block":          {text: middling + "\nb\n", want: []string{middling, "b"}},
		"a line of a block less one": {text: middling[1:] + "\nb\n", want: []string{middling[1:], "b"}},
		"lines of two blocks": {text: middling + middling + "\n" + middling + "a\nb",
			want: []string{middling + middling, middling + "a", "b"}},
		"longest line":             {text: "a\n" + long + "\nb\n", want: []string{"a", long, "b"}},
		"longest line, CRLF":       {text: "a\r\n" + long + "\r\nb\r\n", want: []string{"a", long, "b"}},
		"longest line first, mark": {text: "\ufeff" + long + "\r\nb\n", want: []string{long, "b"}},
		"longest line, no end":     {text: "a\n" + long, want: []string{"a", long}},
		"one byte too long":        {text: "a\n" + long + "x\nb\n", want: []string{"a", "b"}, long: []int64{2}},
		"one byte too long, CRLF":  {text: "a\n" + long + "x\r\nb\n", want: []string{"a", "b"}, long: []int64{2}},
		"too long, no end":         {text: "a\n" + long + "xyz", want: []string{"a"}, long: []int64{2}},
		"much too long, two of them": {text: long + long + "\na\n\n" + long + middling + "\nb\nc",
			want: []string{"a", "b", "c"}, long: []int64{1, 4}},
		"too long, then many": {text: long + "xyz\n" + strings.Repeat("abc\n", 200_000),
			want: slices.Repeat([]string{"abc"}, 200_000), long: []int64{1}},
	}
	for name, test := range tests {
		for form, content := range map[string][]byte{"plain": []byte(test.text), "gzip": zipped(t, test.text),
			"members": zipped(t, test.text[:len(test.text)/2], "", test.text[len(test.text)/2:])} {
			t.Run(name+"/"+form, func(t *testing.T) {
				lines, g, fault := readContent(t, content, archive.ReadOptions{})
				if fault != nil {
					t.Fatal(fault)
				}
				if !slices.Equal(lines, test.want) {
					t.Errorf("%d lines, want %d", len(lines), len(test.want))
				}
				if !slices.Equal(g.long["-"], test.long) {
					t.Errorf("too long are lines %d, want %d", g.long["-"], test.long)
				}
				if g.bytes["-"] != int64(len(test.text)) {
					t.Errorf("%d bytes of text, want %d", g.bytes["-"], len(test.text))
				}
				if g.taken["-"] != int64(len(content)) {
					t.Errorf("%d bytes as stored, want %d", g.taken["-"], len(content))
				}
			})
		}
	}
}

func TestResume(t *testing.T) {
	var text strings.Builder
	for i := 1; i <= 20_000; i++ {
		switch i % 7 {
		case 3:
			text.WriteString("\r\n")
		default:
			fmt.Fprintf(&text, "%d %s\n", i, strings.Repeat("y", i%100))
		}
	}
	content := zipped(t, text.String())
	for _, after := range []int64{0, 1, 2, 3, 4, 5000, 9999, 19_998, 19_999, 20_000, 20_001, 1 << 40} {
		lines, g, fault := readContent(t, content, archive.ReadOptions{Resume: func(archive.Object) (int64,
			bool) {
			return after, false
		}})
		if fault != nil {
			t.Fatal(fault)
		}
		first := after + 1
		if first%7 == 3 {
			first++
		}
		if first > 20_000 {
			if len(lines) != 0 {
				t.Errorf("after %d: %d lines", after, len(lines))
			}
		} else if g.first["-"] != first || !strings.HasPrefix(lines[0], fmt.Sprint(first, " ")) ||
			g.count["-"] != 20_000-after {
			t.Errorf("after %d: the first of %d lines is %d, want %d", after, g.count["-"], g.first["-"], first)
		}
		if g.bytes["-"] != int64(text.Len()) {
			t.Errorf("after %d: %d bytes, want %d", after, g.bytes["-"], text.Len())
		}
	}

	a := open(t, archive.Options{Stdin: bytes.NewReader(content)}, "-")
	if g := readAll(t, a, archive.ReadOptions{Resume: func(archive.Object) (int64, bool) {
		return 0,
			true
	}}); len(g.keys) != 0 {
		t.Errorf("an object that is done is read: %q", g.keys)
	}

	// A line that is too long is skipped like any other.
	long := strings.Repeat("x", archive.MaxLine+5)
	lines, g, _ := readContent(t, []byte("a\n"+long+"\nb\n"+long+"\nc\n"),
		archive.ReadOptions{Resume: func(archive.Object) (int64, bool) { return 2, false }})
	if !slices.Equal(lines, []string{"b", "c"}) || !slices.Equal(g.long["-"], []int64{4}) || g.first["-"] != 3 {
		t.Errorf("lines %q, too long %d, first %d", lines, g.long["-"], g.first["-"])
	}
}

// TestTruncated cuts a gzip at every byte. The standard library's gzip tells the wanted lines.
func TestTruncated(t *testing.T) {
	members := []string{
		"one\ntwo\r\n\n" + strings.Repeat("some more of the first member\n", 20) + "and a line that ",
		"goes on\nfour\n",
		"five\nsix, without an end",
	}
	whole := zipped(t, members...)
	boundaries := map[int]string{0: ""}
	for i := range members {
		boundaries[len(zipped(t, members[:i+1]...))] = strings.Join(members[:i+1], "")
	}
	for cut := range whole {
		lines, _, fault := readContent(t, whole[:cut], archive.ReadOptions{})
		if text, atBoundary := boundaries[cut]; atBoundary {
			if want := naive(text); fault != nil || !slices.Equal(lines, want) {
				t.Errorf("cut at %d, between members: %q, %v, want %q", cut, lines, fault, want)
			}
			continue
		}
		// The decoder may look ahead, and so leave the last symbol's lines out.
		want := completeLines(whole[:cut])
		if !slices.Equal(lines, want) && !slices.Equal(lines, completeLines(whole[:max(cut-1, 0)])) {
			t.Errorf("cut at %d: %q, want %q", cut, lines, want)
		}
		var object *archive.ObjectError
		if !errors.Is(fault, archive.ErrTruncated) || !errors.As(fault, &object) || object.Object.Key != "-" ||
			object.Line < int64(len(lines)) {
			t.Errorf("cut at %d: error %v", cut, fault)
		}
	}
}

// completeLines returns the complete lines that the standard library unpacks.
func completeLines(content []byte) []string {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(r)
	return naive(string(text[:bytes.LastIndexByte(text, '\n')+1]))
}

func TestCorrupt(t *testing.T) {
	text := strings.Repeat("a line of the first member\n", 50)
	whole := zipped(t, text, "second\n")
	first := len(zipped(t, text))
	for name, test := range map[string]struct {
		flip int
		want int // lines at least
	}{
		"checksum":    {flip: first - 8, want: 50},
		"length":      {flip: first - 1, want: 50},
		"header":      {flip: 2, want: 0},
		"next header": {flip: first, want: 50},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := bytes.Clone(whole)
			damaged[test.flip] ^= 0x20
			lines, _, fault := readContent(t, damaged, archive.ReadOptions{})
			if !errors.Is(fault, archive.ErrCorrupt) || len(lines) != test.want {
				t.Errorf("%d lines, %v, want %d and %v", len(lines), fault, test.want, archive.ErrCorrupt)
			}
		})
	}
	// Wherever the bit flips, reading ends with an error or with the very lines,
	// and never with the start of a line.
	for i := 1; i < len(whole); i++ { // without the first it is plain text
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		lines, _, fault := readContent(t, damaged, archive.ReadOptions{})
		if fault == nil && !slices.Equal(lines, naive(text+"second\n")) {
			t.Errorf("byte %d: %d lines and no error", i, len(lines))
		}
	}
}

// broken gives some bytes and then an error.
type broken struct {
	from io.Reader
	err  error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func TestReadError(t *testing.T) {
	unplugged := errors.New("unplugged")
	for name, content := range map[string][]byte{"plain": []byte("a\nb\nincomp"),
		"gzip": zipped(t, "a\nb\nincomp")[:28]} {
		a := open(t, archive.Options{Stdin: &broken{bytes.NewReader(content), unplugged}}, "-")
		g := readAll(t, a, archive.ReadOptions{})
		if !errors.Is(g.fault["-"], unplugged) || errors.Is(g.fault["-"], archive.ErrTruncated) {
			t.Errorf("%s: error %v", name, g.fault["-"])
		}
		if name == "plain" && !slices.Equal(g.lines["-"], []string{"a", "b"}) {
			t.Errorf("lines %q", g.lines["-"])
		}
	}
}

func FuzzContent(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n\ufeff"), uint16(3), int64(1))
	f.Add([]byte("\ufeff{}\n \n"), uint16(0), int64(0))
	f.Add(zipped(f, "a\nb"), uint16(9), int64(2))
	f.Fuzz(func(t *testing.T, content []byte, repeat uint16, after int64) {
		// What the first line is makes the text lines, and no other format.
		text := "-\n" + strings.Repeat(string(content), 1+int(repeat))
		if len(text) > 4<<20 {
			return
		}
		want := naive(text)
		resume := archive.ReadOptions{Resume: func(archive.Object) (int64, bool) { return after, false }}
		lines, g, fault := readContent(t, zipped(t, text[:len(text)/3], text[len(text)/3:]), archive.ReadOptions{})
		if fault != nil || !slices.Equal(lines, want) || g.bytes["-"] != int64(len(text)) {
			t.Fatalf("gzip: %d lines, want %d, %v", len(lines), len(want), fault)
		}
		resumed, _, fault := readContent(t, zipped(t, text), resume)
		if fault != nil || len(resumed) > len(want) || !slices.Equal(resumed, want[len(want)-len(resumed):]) {
			t.Fatalf("after line %d: %d lines of %d, %v", after, len(resumed), len(want), fault)
		}
		if lines, _, fault = readContent(t, []byte(text), archive.ReadOptions{}); fault != nil ||
			!slices.Equal(lines, want) {
			t.Fatalf("plain: %d lines, want %d, %v", len(lines), len(want), fault)
		}
	})
}

func TestCancel(t *testing.T) {
	read, write := io.Pipe() // standard input on which nothing comes
	defer write.Close()
	a := open(t, archive.Options{Stdin: read}, "-")
	ctx, cancel := context.WithCancel(t.Context())
	r := a.Read(ctx, archive.ReadOptions{})
	go cancel()
	if _, err := r.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after Close", err)
	}
}
