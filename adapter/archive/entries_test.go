package archive_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter/archive"
)

// pieces reads a text in pieces of a size.
type pieces struct {
	from io.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.from.Read(b[:min(len(b), p.size)]) }

// readPieces reads an object in pieces.
func readPieces(t testing.TB, content []byte, size int, o archive.ReadOptions) (lines []string, g got, fault error) {
	t.Helper()
	g = readAll(t, open(t, archive.Options{Stdin: &pieces{bytes.NewReader(content), size}}, "-"), o)
	return g.lines["-"], g, g.fault["-"]
}

// TestForms reads texts in all forms of events. The wanted lines have tabs where the text has ends
// of lines.
func TestForms(t *testing.T) {
	tests := map[string]struct {
		text  string
		want  []string
		fault error
	}{
		"an array on a line":          {text: `[{"a":1},{"b":2}]`, want: []string{`{"a":1}`, `{"b":2}`}},
		"an array, an element a line": {text: "[\n{\"a\":1},\n{\"b\":2}\n]\n", want: []string{`{"a":1}`, `{"b":2}`}},
		"a pretty array": {text: "[\n  {\n    \"a\": [1, {}]\n  },\n  {\n    \"b\": 2\n  }\n]\n",
			want: []string{"{\t    \"a\": [1, {}]\t  }", "{\t    \"b\": 2\t  }"}},
		"a pretty array, other style": {text: "[{\r\n  \"a\": 1\r\n}, {\r\n  \"b\": 2\r\n}]\r\n",
			want: []string{"{\t\t  \"a\": 1\t\t}", "{\t\t  \"b\": 2\t\t}"}},
		"no element": {text: " [ ] \n"},
		"brackets in texts": {text: `[{"a":"]}[{,\"]}\\"},{"}":"{"}]`,
			want: []string{`{"a":"]}[{,\"]}\\"}`, `{"}":"{"}`}},
		"a mark":             {text: "\ufeff[{\"a\":1}]", want: []string{`{"a":1}`}},
		"blank lines before": {text: "\n \t\r\n[{\"a\":1}]", want: []string{`{"a":1}`}},
		"an array a line": {text: "[{\"a\":1},{\"b\":2}]\n[{\"c\":3}]\n",
			want: []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}},
		"arrays of files with marks": {text: "\ufeff[{\"a\":1}]\ufeff[{\"b\":2}]",
			want: []string{`{"a":1}`, `{"b":2}`}},
		"no comma, two commas": {text: `[{"a":1} {"b":2},,{"c":3},]`,
			want: []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}},
		"other elements": {text: `[{"a":1},null,-1.5e3,"x,]{","y",[{"z":1}],{"b":2}]`,
			want: []string{`{"a":1}`, "null", "-1.5e3", `"x,]{"`, `"y"`, `{"z":1}`, `{"b":2}`}},
		"pretty": {text: "{\n  \"a\": 1\n}\n{\n  \"b\": 2\n}\n",
			want: []string{"{\t  \"a\": 1\t}", "{\t  \"b\": 2\t}"}},
		"pretty, with commas": {text: "{\n  \"a\": 1\n},\n{\n  \"b\": 2\n}",
			want: []string{"{\t  \"a\": 1\t}", "{\t  \"b\": 2\t}"}},
		"not indented": {text: "{\n\"a\":\n{\n\"b\": [\n{}\n]\n}\n}\n{\n\"c\": 1\n}",
			want: []string{"{\t\"a\":\t{\t\"b\": [\t{}\t]\t}\t}", "{\t\"c\": 1\t}"}},
		"one behind another": {text: `{"a":1}{"b":2} {"c":3}`,
			want: []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}},
		"one behind another, lines": {text: "{\"a\":1}{\"b\":2}\n{\"c\":3}\n",
			want: []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}},
		"commas":                    {text: `{"a":1},{"b":2}`, want: []string{`{"a":1}`, `{"b":2}`}},
		"commas at ends of lines":   {text: "{\"a\":1},\r\n{\"b\":2},\r\n", want: []string{`{"a":1}`, `{"b":2}`}},
		"a comma at the very end":   {text: `{"a":1},`, want: []string{`{"a":1}`}},
		"carriage returns":          {text: "{\"a\":1}\r{\"b\":2}\r", want: []string{`{"a":1}`, `{"b":2}`}},
		"record separators":         {text: "\x1e{\"a\":1}\n\x1e{\"b\":2}\n", want: []string{`{"a":1}`, `{"b":2}`}},
		"record separators between": {text: "{\"a\":1}\x1e{\"b\":2}", want: []string{`{"a":1}`, `{"b":2}`}},
		"one pretty value, then lines": {text: "{\n \"a\": 1}\n{\"b\":2}\n{\"c\":3}",
			want: []string{"{\t \"a\": 1}", `{"b":2}`, `{"c":3}`}},

		// These stay lines, with all that is wrong with them.
		"lines": {text: "{\"a\":1}\n[{\"b\":2}]\n{\n\"c\":3}",
			want: []string{`{"a":1}`, `[{"b":2}]`, "{", `"c":3}`}},
		"an unclosed text in line 1": {text: "{\"a\":\"x\n{\"b\":2}\n", want: []string{`{"a":"x`, `{"b":2}`}},
		"an unclosed text in line 2": {text: "{\"a\":1}\n{\"b\":\"x\n{\"c\":3}\n",
			want: []string{`{"a":1}`, `{"b":"x`, `{"c":3}`}},
		"an open value in line 2": {text: "{\"a\":1}\n{\"b\":\n{\"c\":3}\n",
			want: []string{`{"a":1}`, `{"b":`, `{"c":3}`}},
		"a line that is cut":           {text: `{"a":{"b":1`, want: []string{`{"a":{"b":1`}},
		"a line that is cut, with end": {text: "{\"a\":{\"b\":1\n \n", want: []string{`{"a":{"b":1`}},
		"a table": {text: "{\"a\":1}\t{\"b\":2}\n{\"c\":3}\t7\n",
			want: []string{"{\"a\":1}\t{\"b\":2}", "{\"c\":3}\t7"}},
		"another table": {text: "{\"a\":1},x\n{\"c\":3},y\n", want: []string{`{"a":1},x`, `{"c":3},y`}},
		"a text behind": {text: "{\"a\":1} x\n{\"b\":2}\n", want: []string{`{"a":1} x`, `{"b":2}`}},
		"rows":          {text: "[\"a\",1]\n[\"b\",2]\n", want: []string{`["a",1]`, `["b",2]`}},
		"a program's log": {text: "[2026-10-31] {\"a\":1}\n[2026-11-01] {\"b\":2}\n",
			want: []string{`[2026-10-31] {"a":1}`, `[2026-11-01] {"b":2}`}},
		"server-sent events": {text: "data: {\"a\":1}\n\ndata: {\"b\":2}\n",
			want: []string{`data: {"a":1}`, `data: {"b":2}`}},
		"texts": {text: "\"{\\\"a\\\":1}\"\n\"{}\"\n", want: []string{`"{\"a\":1}"`, `"{}"`}},
		"zeros between": {text: "{\"a\":1}\n\x00\x00\n{\"b\":2}\n",
			want: []string{`{"a":1}`, "\x00\x00", `{"b":2}`}},

		// What is not whole.
		"an array that is cut": {text: `[{"a":1},{"b":2},{"c":`, want: []string{`{"a":1}`, `{"b":2}`},
			fault: archive.ErrTruncated},
		"an array that is cut in a text": {text: `[{"a":1},{"b":"x`, want: []string{`{"a":1}`},
			fault: archive.ErrTruncated},
		"an array that is cut, products": {text: `[{"a":1},{"b":[{"x":1},{"x":2},{"x":3`,
			want: []string{`{"a":1}`}, fault: archive.ErrTruncated},
		"an array that is cut between": {text: "[\n{\"a\":1},\n", want: []string{`{"a":1}`},
			fault: archive.ErrTruncated},
		"an array that is cut at its head": {text: "[", fault: archive.ErrTruncated},
		"a pretty array that is cut": {text: "[\n  {\n    \"a\": 1\n  },\n  {\n    \"b\": {\n",
			want: []string{"{\t    \"a\": 1\t  }"}, fault: archive.ErrTruncated},
		"pretty values that are cut": {text: "{\n  \"a\": 1\n}\n{\n  \"b\"",
			want: []string{"{\t  \"a\": 1\t}"}, fault: archive.ErrTruncated},

		// What is broken costs none of its neighbours.
		"words between": {text: `{"a":1}{"b":2} some words, and more {"c":3}`,
			want: []string{`{"a":1}`, `{"b":2}`, "some words, and more", `{"c":3}`}},
		"lines of words between": {text: "{\n\"a\":1}\nsome\n\nwords\n{\"b\":2}\n",
			want: []string{"{\t\"a\":1}", "some\t\twords", `{"b":2}`}},
		"words in an array": {text: `[{"a":1},words,{"b":2}]`,
			want: []string{`{"a":1}`, "words", `{"b":2}`}},
		"a value that is no JSON": {text: `[{"a":1},{"b":NaN,'c':[tru}},{"d":4}]`,
			want: []string{`{"a":1}`, `{"b":NaN,'c':[tru}`, "}", `{"d":4}`}},
		"names without quotes": {text: `[{a:1,b:{c:2}},{"d":4}]`,
			want: []string{`{a:1,b:{c:2}}`, `{"d":4}`}},
		"an open element": {text: `[{"a":1,{"b":2},{"c":3}]`,
			want: []string{`{"a":1`, `{"b":2}`, `{"c":3}`}},
		"an open element, deeper": {text: `[{"a":{"x":[1,2]},{"b":2},{"c":3}]`,
			want: []string{`{"a":{"x":[1,2]}`, `{"b":2}`, `{"c":3}`}},
		"an open element at the end": {text: `[{"a":1},{"b":2]`, want: []string{`{"a":1}`, `{"b":2`}},
		"an unclosed text in an array": {text: `[{"a":1},{"b":"x},{"c":3},{"d":4}]`,
			want: []string{`{"a":1}`, `{"b":"x}`, `{"c":3}`, `{"d":4}`}},
		"quotes in a text": {text: `[{"a":"he said "yes" to"},{"b":2}]`,
			want: []string{`{"a":"he said "yes" to"}`, `{"b":2}`}},
		"an unclosed text in a pretty array": {text: "[\n  {\n    \"a\": \"x,\n    \"p\": [\n      {\n        " +
			"\"q\": 1\n      }\n    ]\n  },\n  {\n    \"b\": 2\n  }\n]",
			want: []string{"{\t    \"a\": \"x,\t    \"p\": [\t      {\t        \"q\": 1\t      }\t    ]\t  }",
				"{\t    \"b\": 2\t  }"}},
		"an unclosed text in a pretty value": {text: "{\n  \"a\": \"x\n}\n{\n  \"b\": 2\n}\n",
			want: []string{"{\t  \"a\": \"x\t}", "{\t  \"b\": 2\t}"}},
		"an end of a line in a text": {text: "{\n\"a\":1}\n{\"b\":\"x\ny\"}\n{\"c\":3}\n",
			want: []string{"{\t\"a\":1}", "{\"b\":\"x\ty\"}", `{"c":3}`}},
		"an open first line": {text: "{\"a\":{\"b\":1\n{\"c\":3}\n{\"d\":4}\n",
			want: []string{`{"a":{"b":1`, `{"c":3}`, `{"d":4}`}},
		"an open first line, behind a colon": {text: "{\"a\":\n{\"c\":3}\n{\"d\":4}\n",
			want: []string{`{"a":`, `{"c":3}`, `{"d":4}`}},
		"an open first line, the only other": {text: "{\"a\":\n{\"c\":3}\n", want: []string{`{"a":`, `{"c":3}`}},
		"an open first line, in an array": {text: "{\"a\":[\n{\"c\":3}\n{\"d\":4}\n",
			want: []string{`{"a":[`, `{"c":3}`, `{"d":4}`}},
		"a comma is missing": {
			text: "{\n  \"a\": \"x\"\n  \"b\": {\n    \"c\": 1\n  }\n}\n{\n  \"d\": 4\n}\n",
			want: []string{"{\t  \"a\": \"x\"\t  \"b\": {\t    \"c\": 1\t  }\t}", "{\t  \"d\": 4\t}"}},
		"a pretty file that is cut, another": {text: "{\n  \"a\": {\n    \"b\": 1\n{\n  \"c\": 3\n}\n",
			want: []string{"{\t  \"a\": {\t    \"b\": 1", "{\t  \"c\": 3\t}"}},
		"an array that is cut, another": {text: "[\n  {\n    \"a\": 1\n[\n  {\n    \"b\": 2\n  }\n]\n",
			want: []string{"{\t    \"a\": 1", "{\t    \"b\": 2\t  }"}, fault: archive.ErrTruncated},
		"a record that is cut": {text: "\x1e{\"a\":{\n\x1e{\"b\":2}\n",
			want: []string{`{"a":{`, `{"b":2}`}},
		"brackets that close nothing": {text: `{"a":1}{"b":2}]}]{"c":3}`,
			want: []string{`{"a":1}`, `{"b":2}`, "]}]", `{"c":3}`}},
		"a broken value with products, lines": {
			text: "{\n\"a\":1}\n{\"b\":\"x,\"p\":[{\"q\":1},{\"q\":2}]}\n{\"c\":3}\n",
			want: []string{"{\t\"a\":1}", `{"b":"x,"p":[{"q":1},{"q":2}]}`, `{"c":3}`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for form, content := range map[string][]byte{"plain": []byte(test.text), "gzip": zipped(t, test.text)} {
				for _, size := range []int{1, 3, 1 << 20} {
					for _, prompt := range []bool{false, true} {
						lines, g, fault := readPieces(t, content, size, archive.ReadOptions{Prompt: prompt})
						if !slices.Equal(lines, test.want) || !errors.Is(fault, test.fault) {
							t.Fatalf("%s in pieces of %d: %q, %v\nwant %q, %v", form, size, lines, fault,
								test.want, test.fault)
						}
						if g.bytes["-"] != int64(len(test.text)) || g.taken["-"] != int64(len(content)) {
							t.Errorf("%s: %d bytes of text, want %d; %d as stored, want %d", form, g.bytes["-"],
								len(test.text), g.taken["-"], len(content))
						}
					}
				}
			}
		})
	}
}

// TestLongEntries reads events of the greatest length, and one byte longer.
func TestLongEntries(t *testing.T) {
	sized := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}` }
	wide := sized(1000)
	most, over, far := sized(archive.MaxLine), sized(archive.MaxLine+1), sized(3*archive.MaxLine)
	pretty := "{\n  \"a\": [\n" + strings.Repeat("    {\"b\": 1},\n", archive.MaxLine/13) + "    {}\n  ]\n}"
	for name, test := range map[string]struct {
		text string
		want []string
		long []int64
	}{
		"greatest length": {text: "[" + most + `,{"b":2}]`, want: []string{most, `{"b":2}`}},
		"one byte more":   {text: "[" + over + `,{"b":2}]`, want: []string{`{"b":2}`}, long: []int64{1}},
		"many more": {text: `[{"a":1},` + far + "," + far + `,{"b":2}]`,
			want: []string{`{"a":1}`, `{"b":2}`}, long: []int64{2, 3}},
		"many objects in it": {text: `[{"a":[{}` + strings.Repeat(`,{"x":1,"pad":"some more of it"}`,
			archive.MaxLine/25) + `]},{"b":2}]`, want: []string{`{"b":2}`}, long: []int64{1}},
		"pretty": {text: pretty + "\n{\"b\":2}\n", want: []string{`{"b":2}`}, long: []int64{1}},
		"values": {text: `{"a":1}` + far + `{"b":2}`, want: []string{`{"a":1}`, `{"b":2}`},
			long: []int64{2}},
		"words": {text: `{"a":1}{"b":2}` + strings.Repeat("words ", archive.MaxLine/5) +
			`{"c":3}`, want: []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}, long: []int64{3}},
		"an unclosed text": {text: `[{"a":1},{"b":"` + strings.Repeat("x", 2*archive.MaxLine) +
			"\n,{\"c\":3}]", want: []string{`{"a":1}`}, long: []int64{2}},
		"an open line, then many": {text: "{\"a\":[\n" + strings.Repeat(wide+",\n", archive.MaxLine/900),
			want: append([]string{`{"a":[`}, slices.Repeat([]string{wide}, archive.MaxLine/900)...)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{100_003, 1 << 30} {
				lines, g, fault := readPieces(t, []byte(test.text), size, archive.ReadOptions{})
				if name == "an unclosed text" { // the array's end belongs to it
					if !errors.Is(fault, archive.ErrTruncated) {
						t.Errorf("error %v", fault)
					}
				} else if fault != nil {
					t.Error(fault)
				}
				if !slices.Equal(lines, test.want) || !slices.Equal(g.long["-"], test.long) {
					t.Errorf("in pieces of %d: %d lines, want %d; too long are %d, want %d", size, len(lines),
						len(test.want), g.long["-"], test.long)
				}
				if g.bytes["-"] != int64(len(test.text)) {
					t.Errorf("%d bytes of text, want %d", g.bytes["-"], len(test.text))
				}
			}
		})
	}
}

// TestHostileEntries reads texts that make a parser scan again and again. Without bounds they
// would take hours.
func TestHostileEntries(t *testing.T) {
	for name, text := range map[string]string{
		"openings":            "[" + strings.Repeat("{", 1<<20),
		"openings, lines":     "{\n" + strings.Repeat("{\"a\":\n", 64<<10),
		"arrays, lines":       "{\n" + strings.Repeat("[\n", 512<<10),
		"arrays":              "[{\"a\":" + strings.Repeat("[", 1<<20) + strings.Repeat("}", 512<<10),
		"quotes":              "[{" + strings.Repeat(`"`, 1<<20),
		"closings":            "[{},[[" + strings.Repeat("}", 1<<20),
		"broken, many":        "[" + strings.Repeat(`{"a":"x},{"b":[{},{`, 1<<16),
		"open lines, then an": "{\n" + strings.Repeat("{\"a\":[{\n", 128<<10) + strings.Repeat("{},", 256<<10),
		"flipped":             "[" + strings.Repeat(`{"},{":"`, 128<<10),
		"blanks":              "[" + strings.Repeat("\n \t", 1<<20),
		"blanks in a value":   "{\n" + strings.Repeat("\n \t", 1<<20) + "}",
		"separators":          "\x1e" + strings.Repeat("\x1e{", 512<<10),
	} {
		t.Run(name, func(t *testing.T) {
			_, g, _ := readPieces(t, []byte(text), 64<<10, archive.ReadOptions{})
			if g.bytes["-"] != int64(len(text)) {
				t.Errorf("%d bytes of text, want %d", g.bytes["-"], len(text))
			}
		})
	}
}

// manyEntries returns a text of n events in a form, which fill several blocks.
func manyEntries(form string, n int) string {
	var out strings.Builder
	for i := 1; i <= n; i++ {
		event := fmt.Sprintf(`{"n":%d,"pad":%q}`, i, strings.Repeat("y", i%100))
		switch form {
		case "array":
			out.WriteString(event + ",")
		case "pretty":
			var indented bytes.Buffer
			_ = json.Indent(&indented, []byte(event), "", "  ")
			out.WriteString(indented.String() + "\n")
		default:
			out.WriteString(event)
		}
	}
	if form == "array" {
		return "[" + strings.TrimSuffix(out.String(), ",") + "]"
	}
	return out.String()
}

func TestResumeEntries(t *testing.T) {
	const n = 6000
	for _, form := range []string{"array", "pretty", "concatenated"} {
		text := manyEntries(form, n)
		for _, after := range []int64{0, 1, 2, 3999, n - 1, n, n + 1, 1 << 40} {
			asked := 0
			lines, g, fault := readContent(t, zipped(t, text),
				archive.ReadOptions{Resume: func(o archive.Object) (int64, bool) {
					asked++
					// A number of lines means nothing here.
					if o.Version != archive.OfEntries {
						return 12_345, false
					}
					return after, false
				}})
			if fault != nil || asked != 2 {
				t.Fatalf("%s: asked %d times, %v", form, asked, fault)
			}
			want := max(n-after, 0)
			if int64(len(lines)) != want || g.count["-"] != want || g.bytes["-"] != int64(len(text)) {
				t.Errorf("%s after %d: %d lines, counted %d, want %d; %d bytes, want %d", form, after, len(lines),
					g.count["-"], want, g.bytes["-"], len(text))
				continue
			}
			for i, line := range lines {
				var event struct{ N int64 }
				if err := json.Unmarshal([]byte(line), &event); err != nil || event.N != after+int64(i)+1 {
					t.Fatalf("%s after %d: event %d is %s, %v", form, after, i, line, err)
				}
			}
			if want > 0 && g.first["-"] != after+1 {
				t.Errorf("%s after %d: the first is %d", form, after, g.first["-"])
			}
		}
		// One that turns out to be done has a last block, and nothing in it.
		done := func(o archive.Object) (int64, bool) { return 0, o.Version == archive.OfEntries }
		lines, g, fault := readContent(t, []byte(text), archive.ReadOptions{Resume: done})
		if len(lines) != 0 || g.count["-"] != 0 || fault != nil {
			t.Errorf("%s, done: %d lines, %v", form, len(lines), fault)
		}
	}
}

// TestEntriesOfDamagedGzip cuts a compressed array at every byte. The complete entries come.
func TestEntriesOfDamagedGzip(t *testing.T) {
	text := manyEntries("array", 50)
	whole := zipped(t, text)
	all, _, _ := readContent(t, whole, archive.ReadOptions{})
	most := 0
	for cut := 1; cut < len(whole); cut++ {
		lines, _, fault := readContent(t, whole[:cut], archive.ReadOptions{})
		if !errors.Is(fault, archive.ErrTruncated) || !slices.Equal(lines, all[:len(lines)]) {
			t.Fatalf("cut at %d: %d lines, %v", cut, len(lines), fault)
		}
		var object *archive.ObjectError
		if errors.As(fault, &object); len(lines) > 0 && (object.Line != int64(len(lines)) || !object.OfEntries) {
			t.Errorf("cut at %d: error %+v behind %d lines", cut, object, len(lines))
		}
		most = max(most, len(lines))
	}
	if most != 50 {
		t.Errorf("%d lines at most", most)
	}
}

// TestVersionOfEntries checks that blocks of entries have another Version than the listing, which
// distinguishes numbers of entries from numbers of lines.
func TestVersionOfEntries(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "array.json"), []byte(`[{"a":1}]`))
	write(t, filepath.Join(dir, "lines.json"), []byte(`{"a":1}`))
	listed := make(map[string]string)
	a := open(t, archive.Options{}, dir)
	for o, err := range a.Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		listed[o.Key] = o.Version
	}
	r := a.Read(t.Context(), archive.ReadOptions{})
	defer r.Close()
	for range 2 {
		b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		want := listed[b.Object.Key]
		if strings.HasSuffix(b.Object.Key, "array.json") {
			want += archive.OfEntries
		}
		if b.Object.Version != want {
			t.Errorf("%s: version %q, want %q", b.Object.Key, b.Object.Version, want)
		}
	}
}

// FuzzEntries reads any text as entries. The sizes of the pieces must make no difference, reading
// must end, and entries must be lines.
func FuzzEntries(f *testing.F) {
	for _, seed := range []string{`[{"a":1},{"b":[{},2]}]`, "{\n \"a\": \"x\n}\n{\"b\":2}\n",
		`[{"a":"x},{"b":2},null]`, "\x1e{}\n\x1e{", "{}{\"a\":\n{\"b\":1}\n[1}]]x", "[{\"\\\n\"}]"} {
		f.Add([]byte(seed), uint8(1), int64(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, size uint8, after int64) {
		if len(text) > 64<<10 {
			return
		}
		want, g, fault := readContent(t, text, archive.ReadOptions{})
		for _, line := range want {
			if strings.ContainsAny(line, "\n") || line == "" {
				t.Fatalf("entry %q", line)
			}
		}
		got, g2, fault2 := readPieces(t, text, 1+int(size), archive.ReadOptions{Prompt: size%2 == 0})
		if !slices.Equal(got, want) || (fault == nil) != (fault2 == nil) || g.bytes["-"] != g2.bytes["-"] {
			t.Fatalf("in pieces of %d: %q, %v\nwant %q, %v", 1+int(size), got, fault2, want, fault)
		}
		resume := func(archive.Object) (int64, bool) { return after, false }
		resumed, _, _ := readPieces(t, text, 1+int(size), archive.ReadOptions{Resume: resume})
		if len(resumed) > len(want) || !slices.Equal(resumed, want[len(want)-len(resumed):]) {
			t.Fatalf("after %d: %q of %q", after, resumed, want)
		}
	})
}

// FuzzArray writes events in all forms of arrays and values, and reads them again.
func FuzzArray(f *testing.F) {
	f.Add([]byte(`{"a":1} {"b":"}\"]{"} {"c":[{"d":null}]}`), uint64(1))
	f.Add([]byte("{\"\":\"\\u0000\\\\\"}\n{}\n{\"é\":-1e-7}"), uint64(2))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		var events []string
		for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
			var value json.RawMessage
			if decoder.Decode(&value) != nil {
				break
			}
			if value[0] == '{' {
				events = append(events, string(value))
			}
		}
		if len(events) < 2 { // alone it is a line
			return
		}
		random := rand.New(rand.NewPCG(seed, 0))
		blank := func() string { return []string{"", " ", "\n", "\r\n", "\n\n\t "}[random.IntN(5)] }
		array, values := "[", ""
		for i, event := range events {
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(event), []string{"", "  "}[random.IntN(2)],
				[]string{"", " ", "\t"}[random.IntN(3)]); err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				array += blank() + ","
			}
			form := []string{event, indented.String()}[random.IntN(2)]
			array += blank() + form
			values += form
			if i > 0 { // the first two stand on one line
				values += blank()
			}
		}
		for name, written := range map[string]string{"array": array + blank() + "]" + blank(), "values": values} {
			lines, _, fault := readPieces(t, []byte(written), 1+random.IntN(100), archive.ReadOptions{})
			if fault != nil || len(lines) != len(events) {
				t.Fatalf("%s: %d events, want %d, %v\n%q", name, len(lines), len(events), fault, written)
			}
			for i, line := range lines {
				var got, want bytes.Buffer
				if err := errors.Join(json.Compact(&got, []byte(line)),
					json.Compact(&want, []byte(events[i]))); err != nil || got.String() != want.String() {
					t.Fatalf("%s: event %d is %s, want %s, %v", name, i, line, events[i], err)
				}
			}
		}
	})
}
