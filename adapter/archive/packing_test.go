package archive_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"

	"segment-saasquatch/adapter/archive"
)

// zstdOf compresses each part as a frame.
func zstdOf(t testing.TB, window int, parts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts {
		w, err := zstd.NewWriter(&out, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// skippable is a frame of zstd without content.
func skippable(content string) []byte {
	n := len(content)
	return append([]byte{0x53, 0x2a, 0x4d, 0x18, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, content...)
}

func TestPacking(t *testing.T) {
	const (
		window = 1 << 20
		text   = "{\"a\":1}\n{\"b\":2}\n"
	)
	want := []string{`{"a":1}`, `{"b":2}`}
	gz := func(content []byte) []byte { return zipped(t, string(content)) }
	zst := func(content []byte) []byte { return zstdOf(t, window, string(content)) }
	plain := []byte(text)
	for name, test := range map[string]struct {
		content []byte
		want    []string
	}{
		"plain":        {plain, want},
		"gzip":         {gz(plain), want},
		"zstd":         {zst(plain), want},
		"gzip in gzip": {gz(gz(plain)), want},
		"zstd in gzip": {gz(zst(plain)), want},
		"gzip in zstd": {zst(gz(plain)), want},
		"zstd in zstd": {zst(zst(plain)), want},
		"members in members": {zipped(t, string(zipped(t, text[:11], "", text[11:]))[:30],
			string(zipped(t, text[:11], "", text[11:]))[30:]), want},
		"frames": {zstdOf(t, window, text[:11], "", text[11:]), want},
		"skippable frames": {slices.Concat(skippable("some"), zst(plain), skippable(""), zst(plain),
			skippable("more")), slices.Concat(want, want)},
		"a skippable frame only":   {skippable("some"), nil},
		"an empty frame":           {zst(nil), nil},
		"an empty gzip in gzip":    {gz(gz(nil)), nil},
		"an array in gzip in gzip": {gz(gz([]byte(`[{"a":1},{"b":2}]`))), want},
		"pretty in zstd":           {zst([]byte("{\n\"a\":1}\n{\"b\":2}")), []string{"{\t\"a\":1}", `{"b":2}`}},
		"a window of 8 MiB": {zstdOf(t, 8<<20, strings.Repeat(text+strings.Repeat(" ", 1000)+"\n",
			10_000)), slices.Repeat(want, 10_000)},
		"lines of many blocks": {gz(zst([]byte(strings.Repeat(text, 1<<16)))), slices.Repeat(want, 1<<16)},
		"an array, many blocks": {zst([]byte("[" + strings.Repeat(`{"a":1},{"b":2},`, 1<<15) + "]")),
			slices.Repeat(want, 1<<15)},
		"a magic number in a value": {[]byte("{\"a\":\"\x1f\x8b\"}\n{\"b\":2}"),
			[]string{"{\"a\":\"\x1f\x8b\"}", `{"b":2}`}},
		"a letter of a magic": {[]byte("(a)\nP\n"), []string{"(a)", "P"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 1 << 20} {
				if size == 1 && len(test.content) > 4096 {
					continue
				}
				lines, g, fault := readPieces(t, test.content, size, archive.ReadOptions{})
				if fault != nil || !slices.Equal(lines, test.want) {
					t.Errorf("in pieces of %d: %d lines, want %d, %v", size, len(lines), len(test.want), fault)
				}
				if g.taken["-"] != int64(len(test.content)) {
					t.Errorf("%d bytes as stored, want %d", g.taken["-"], len(test.content))
				}
			}
		})
	}
}

// TestDamagedPacking cuts objects that are compressed twice, or with zstd, at every byte.
func TestDamagedPacking(t *testing.T) {
	text := manyEntries("array", 20)
	all, _, _ := readContent(t, []byte(text), archive.ReadOptions{})
	for name, whole := range map[string][]byte{
		"gzip in gzip": zipped(t, string(zipped(t, text))),
		"zstd":         zstdOf(t, 1<<20, text),
		"gzip in zstd": zstdOf(t, 1<<20, string(zipped(t, text))),
		"zstd in gzip": zipped(t, string(zstdOf(t, 1<<20, text))),
	} {
		for cut := 1; cut < len(whole); cut++ {
			lines, _, fault := readContent(t, whole[:cut], archive.ReadOptions{})
			// Of less than its magic number nothing is known.
			if cut >= 4 && !errors.Is(fault, archive.ErrTruncated) || cut >= 4 &&
				!slices.Equal(lines, all[:len(lines)]) {
				t.Fatalf("%s cut at %d: %q, %v", name, cut, lines, fault)
			}
		}
		for i := 4; i < len(whole); i++ {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1
			if lines, _, fault := readContent(t, damaged, archive.ReadOptions{}); fault == nil &&
				!slices.Equal(lines, all) {
				t.Errorf("%s, byte %d: %d lines and no error", name, i, len(lines))
			}
		}
		if lines, _, fault := readContent(t, append(bytes.Clone(whole), "garbage of some length"...),
			archive.ReadOptions{}); !errors.Is(fault, archive.ErrCorrupt) || !slices.Equal(lines, all) {
			t.Errorf("%s and garbage: %d lines, %v", name, len(lines), fault)
		}
	}
}

// wide encodes a text as UTF-16 or UTF-32.
func wide(text string, size int, little bool) string {
	var units []uint32
	if size == 2 {
		for _, unit := range utf16.Encode([]rune(text)) {
			units = append(units, uint32(unit))
		}
	} else {
		for _, r := range text {
			units = append(units, uint32(r))
		}
	}
	var out []byte
	for _, unit := range units {
		for i := range size {
			shift := 8 * i
			if !little {
				shift = 8 * (size - 1 - i)
			}
			out = append(out, byte(unit>>shift))
		}
	}
	return string(out)
}

// formats are objects that are not read, and the words of their errors.
func formats(t testing.TB) map[string][2]string {
	tar := make([]byte, 1024)
	copy(tar, "events.json")
	copy(tar[257:], "ustar\x0000")
	text := "{\"type\":\"track\",\"userId\":\"ü\"}\n"
	all := map[string][2]string{
		"UTF-16LE, mark":  {"\xff\xfe" + wide(text, 2, true), "UTF-16 text"},
		"UTF-16BE, mark":  {"\xfe\xff" + wide(text, 2, false), "UTF-16 text"},
		"UTF-16LE":        {wide(text, 2, true), "UTF-16LE text"},
		"UTF-16BE":        {wide(text, 2, false), "UTF-16BE text"},
		"UTF-16LE, array": {wide("\n ["+text+"]", 2, true), "UTF-16LE text"},
		"UTF-16BE, array": {wide("["+text+"]", 2, false), "UTF-16BE text"},
		"UTF-32LE, mark":  {"\xff\xfe\x00\x00" + wide(text, 4, true), "UTF-32 text"},
		"UTF-32BE, mark":  {"\x00\x00\xfe\xff" + wide(text, 4, false), "UTF-32 text"},
		"UTF-32LE":        {wide(text, 4, true), "UTF-32LE text"},
		"UTF-32BE":        {wide(text, 4, false), "UTF-32BE text"},
		"Parquet":         {"PAR1\x15\x04\x15\n\x00", "Parquet: write it as newline-delimited JSON"},
		"Avro":            {"Obj\x01\x04\x14avro.codec", "Avro: write it"},
		"ORC":             {"ORC\x11\x00\x00\n\x06", "ORC: write it"},
		"Arrow":           {"ARROW1\x00\x00", "Arrow: write it"},
		"Feather":         {"FEA1\x00\x00", "Feather: write it"},
		"sequence file":   {"SEQ\x06\x19org", "Hadoop sequence file: write it"},
		"SQLite":          {"SQLite format 3\x00\x10\x00", "SQLite database: write it"},
		"zip":             {"PK\x03\x04\x14\x00\x00\x00", "zip archive: unpack it"},
		"empty zip":       {"PK\x05\x06\x00\x00", "zip archive: unpack it"},
		"bzip2":           {"BZh91AY&SY\x00\x00", "bzip2: unpack it"},
		"xz":              {"\xfd7zXZ\x00\x00", "xz: unpack it"},
		"7z":              {"7z\xbc\xaf\x27\x1c\x00\x04", "7z archive: unpack it"},
		"snappy":          {"\xff\x06\x00\x00sNaPpY\x01", "snappy: unpack it"},
		"LZ4":             {"\x04\x22\x4d\x18\x64\x40", "LZ4: unpack it"},
		"compress":        {"\x1f\x9d\x90\x7b\x22", "Unix compress: unpack it"},
		"tar":             {string(tar), "tar archive: unpack it"},
		"PGP":             {"-----BEGIN PGP MESSAGE-----\n", "PGP: decrypt it"},
		"PDF":             {"%PDF-1.7\n", "PDF: it is no log"},
		"PNG":             {"\x89PNG\r\n\x1a\n\x00", "PNG image: it is no log"},
		"JPEG":            {"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG image: it is no log"},
		"GIF":             {"GIF89a\x01\x00", "GIF image: it is no log"},
		"HTML":            {"\n<!DOCTYPE html>\n<html></html>\n", "HTML or XML"},
		"S3's error":      {"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", "HTML or XML"},
		"packed three times": {string(zipped(t, string(zipped(t, string(zipped(t, text)))))),
			"packed more than twice: unpack it before"},
		"zstd thrice": {string(zstdOf(t, 1<<20, string(zstdOf(t, 1<<20, string(zipped(t, text)))))),
			"packed more than twice: unpack it before"},
		"a window of 16 MiB": {string(zstdOf(t, 16<<20, strings.Repeat(text+strings.Repeat(" ", 1000), 17<<10))),
			"window of more than 8 MiB: pack it again"},
		"a bomb": {bomb(), "packed more than 2000:1: it is no log"},
	}
	return all
}

// bomb is a frame of zstd that decompresses to 150 MiB of one byte.
func bomb() string {
	var out bytes.Buffer
	out.WriteString("\x28\xb5\x2f\xfd\x00\x50") // no size, no checksum; a window of 1 MiB
	const size, blocks = 128 << 10, 1200
	for i := range blocks {
		header := size<<3 | 1<<1 // one byte, repeated
		if i == blocks-1 {
			header |= 1
		}
		out.Write([]byte{byte(header), byte(header >> 8), byte(header >> 16), ' '})
	}
	return out.String()
}

// TestFormats reads objects that are no logs. Each has one error, which names the format and the
// remedy, and no line that looks like an event.
func TestFormats(t *testing.T) {
	for name, test := range formats(t) {
		t.Run(name, func(t *testing.T) {
			packed := map[string][]byte{"as it is": []byte(test[0])}
			if !strings.HasPrefix(test[1], "packed") {
				packed["in gzip"] = zipped(t, test[0])
				packed["in zstd"] = zstdOf(t, 1<<20, test[0])
			}
			for form, content := range packed {
				lines, _, fault := readContent(t, content, archive.ReadOptions{})
				var format *archive.FormatError
				var object *archive.ObjectError
				if !errors.As(fault, &format) || !errors.As(fault, &object) ||
					!strings.Contains(fault.Error(), "it is ") || !strings.Contains(fault.Error(), test[1]) {
					t.Errorf("%s: %v", form, fault)
				}
				if len(lines) > 0 {
					t.Errorf("%s: %d lines", form, len(lines))
				}
			}
		})
	}
}

// TestNoFormat reads texts that look like other formats and are lines.
func TestNoFormat(t *testing.T) {
	for _, text := range []string{"ORCHIDS\n{}\n", "BZh\n", "<134>1 2026-10-31 {}\n", "SEQUENCE\n",
		"\x00\x00\x00\x00\x00\n{}\n", "{\x00}\n", "\u00a0{}\n", "PAR\n{}", "{}"} {
		want := naive(text)
		if lines, _, fault := readContent(t, []byte(text), archive.ReadOptions{}); fault != nil ||
			!slices.Equal(lines, want) {
			t.Errorf("%q: %q, %v", text, lines, fault)
		}
	}
}

// FuzzZstd reads any bytes as zstd, and the zstd of any bytes. Reading must end.
func FuzzZstd(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n{\"b\":2}\n"), uint8(3))
	f.Add([]byte("[{\"a\":1},{}]"), uint8(0))
	f.Add(zstdOf(f, 1<<10, "a\nb\n"), uint8(9))
	f.Add([]byte("\x00\x58\x01\x00\x00"), uint8(1))
	f.Fuzz(func(t *testing.T, content []byte, cut uint8) {
		for _, magic := range []string{"\x28\xb5\x2f\xfd", "\x50\x2a\x4d\x18"} {
			_, _, fault := readContent(t, append([]byte(magic), content...), archive.ReadOptions{})
			if fault != nil {
				var format *archive.FormatError
				if !errors.Is(fault, archive.ErrTruncated) && !errors.Is(fault, archive.ErrCorrupt) &&
					!errors.As(fault, &format) {
					t.Fatalf("error %v", fault)
				}
			}
		}
		at := min(int(cut), len(content))
		text := "-\n" + string(content)
		want, _, _ := readContent(t, []byte(text), archive.ReadOptions{})
		packed := slices.Concat(skippable("x"), zstdOf(t, 1<<16, text[:at], text[at:]), skippable(""))
		lines, g, fault := readPieces(t, packed, 1+int(cut), archive.ReadOptions{})
		if fault != nil || !slices.Equal(lines, want) || g.bytes["-"] != int64(len(text)) {
			t.Fatalf("%d lines, want %d, %v", len(lines), len(want), fault)
		}
	})
}
