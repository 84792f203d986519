package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"segment-saasquatch/adapter/archive/archivetest"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func zstandard(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

// eventFormat is a format of an archive.
type eventFormat struct {
	content string
	// The events of the format are sent, the rejected ones are not.
	events, rejected int
	fault            string // with which reading ends, if it does
}

// eventFormats are all formats of an archive.
func eventFormats(t *testing.T) map[string]eventFormat {
	event := func(id string) string {
		return `{"type":"track","userId":"u-1","event":"Signed Up","messageId":"message-` + id +
			`","timestamp":"2026-10-31T12:00:00Z","properties":{"plan":"a \"}{\" b"}}`
	}
	pretty := func(id string) string {
		var out bytes.Buffer
		if err := json.Indent(&out, []byte(event(id)), "  ", "  "); err != nil {
			t.Fatal(err)
		}
		return "  " + out.String()
	}
	lines := event("1") + "\n" + event("2") + "\n"
	array := "[" + event("1") + "," + event("2") + "]"
	prettyArray := "[\n" + pretty("1") + ",\n" + pretty("2") + "\n]\n"
	wide := "\xff\xfe" + strings.Join(strings.Split(lines, ""), "\x00") + "\x00"
	return map[string]eventFormat{
		"nothing":                 {},
		"lines":                   {lines, 2, 0, ""},
		"lines without an end":    {strings.TrimSuffix(lines, "\n"), 2, 0, ""},
		"lines, CRLF":             {strings.ReplaceAll(lines, "\n", "\r\n"), 2, 0, ""},
		"lines, CR":               {strings.ReplaceAll(lines, "\n", "\r"), 2, 0, ""},
		"lines, blank ones":       {"\n \n" + strings.ReplaceAll(lines, "\n", "\n\t\n\n"), 2, 0, ""},
		"lines, mark":             {"\ufeff" + lines, 2, 0, ""},
		"lines, one broken":       {event("1") + "\n{\"type\":\"track\n" + event("2"), 2, 1, ""},
		"lines, first broken":     {"{\"type\":{\n" + lines, 2, 1, ""},
		"array":                   {array, 2, 0, ""},
		"array, mark":             {"\ufeff" + array, 2, 0, ""},
		"array, CRLF":             {strings.ReplaceAll(prettyArray, "\n", "\r\n"), 2, 0, ""},
		"pretty array":            {prettyArray, 2, 0, ""},
		"array of nothing":        {"[]", 0, 0, ""},
		"array with other things": {"[" + event("1") + ",null,7," + event("2") + "]", 2, 2, ""},
		"array, one broken":       {"[" + event("1") + `,{"type":"track},` + event("2") + "]", 2, 1, ""},
		"array that is cut": {"[" + event("1") + "," + event("2") + "," + event("3")[:40], 2,
			0, "ends too early"},
		"pretty": {pretty("1") + "\n" + pretty("2") + "\n", 2, 0, ""},
		"pretty that is cut": {pretty("1") + "\n" + pretty("2") + "\n" + pretty("3")[:40], 2,
			0, "ends too early"},
		"concatenated":            {event("1") + event("2"), 2, 0, ""},
		"JSON text sequence":      {"\x1e" + event("1") + "\n\x1e" + event("2") + "\n", 2, 0, ""},
		"gzip":                    {gzipped(t, lines), 2, 0, ""},
		"gzip, array":             {gzipped(t, array), 2, 0, ""},
		"gzip, mark and CRLF":     {gzipped(t, "\ufeff"+strings.ReplaceAll(lines, "\n", "\r\n")), 2, 0, ""},
		"gzip, members":           {gzipped(t, lines[:30]) + gzipped(t, "") + gzipped(t, lines[30:]), 2, 0, ""},
		"gzip, members as values": {gzipped(t, event("1")) + gzipped(t, event("2")), 2, 0, ""},
		"gzip that is cut":        {gzipped(t, lines)[:len(gzipped(t, lines))-4], 2, 0, "ends too early"},
		"gzip and garbage":        {gzipped(t, lines) + "some garbage", 2, 0, "damaged"},
		"gzip in gzip":            {gzipped(t, gzipped(t, lines)), 2, 0, ""},
		"gzip in gzip, array":     {gzipped(t, gzipped(t, prettyArray)), 2, 0, ""},
		"gzip in gzip in gzip":    {gzipped(t, gzipped(t, gzipped(t, lines))), 0, 0, "packed more than twice"},
		"zstd":                    {zstandard(t, lines), 2, 0, ""},
		"zstd, array":             {zstandard(t, array), 2, 0, ""},
		"zstd, frames": {zstandard(t, lines[:30]) + "\x50\x2a\x4d\x18\x01\x00\x00\x00x" +
			zstandard(t, lines[30:]), 2, 0, ""},
		"zstd that is cut":      {zstandard(t, array)[:40], 0, 0, "ends too early"},
		"zstd in gzip":          {gzipped(t, zstandard(t, lines)), 2, 0, ""},
		"UTF-16":                {wide, 0, 0, "it is UTF-16 text: convert it to UTF-8"},
		"UTF-16 without a mark": {wide[2:], 0, 0, "it is UTF-16LE text"},
		"Parquet":               {"PAR1\x15\x04PAR1", 0, 0, "it is Parquet: write it as"},
		"Parquet in gzip":       {gzipped(t, "PAR1\x15\x04PAR1"), 0, 0, "it is Parquet"},
		"Avro":                  {"Obj\x01\x04", 0, 0, "it is Avro"},
		"zip":                   {"PK\x03\x04\x14\x00", 0, 0, "it is a zip archive: unpack it"},
		"text in texts":         {`"{\"type\":\"track\"}"` + "\n", 0, 1, ""},
		"a table":               {event("1") + "\t{}\n", 0, 1, ""},
		"server-sent events":    {"data: " + event("1") + "\n", 0, 1, ""},
	}
}

// TestFormatsByReaders reads every format of an archive in every way.
func TestFormatsByReaders(t *testing.T) {
	formats := eventFormats(t)
	objects := make(map[string][]byte, len(formats))
	for name, format := range formats {
		objects[name+"/1.gz"] = []byte(format.content)
		// With a second object the folder is never empty.
		objects[name+"/2.ndjson"] = []byte(`{"type":"page"}`)
	}
	s3 := archivetest.ServeS3(t, "logs", objects)
	dir := t.TempDir()
	for name, format := range formats {
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string]string{"1.gz": format.content, "2.ndjson": `{"type":"page"}`} {
			if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for reader, read := range map[string]struct {
			stdin  string
			source string
			pages  int // that are there too
		}{
			"file":      {"", filepath.Join(folder, "1.gz"), 0},
			"stdin":     {format.content, "-", 0},
			"directory": {"", folder, 1},
			"glob":      {"", filepath.Join(folder, "?.gz"), 0},
			"bucket":    {"", s3.URL("logs", name), 1},
			"object":    {"", s3.URL("logs", name+"/1.gz"), 0},
		} {
			t.Run(name+"/"+reader, func(t *testing.T) {
				report := filepath.Join(t.TempDir(), "report.json")
				code, stdout, stderr := runCommand(t, read.stdin, "replay", "--dry-run", "--any-age", "--identify",
					"none", "--progress", "none",
					"--data-dir", t.TempDir(), "--report", report, read.source)
				format.checkReplay(t, report, read.pages, code, stdout+stderr)
				code, stdout, stderr = runCommand(t, read.stdin, "map", read.source)
				format.checkMap(t, read.pages, code, stdout, stderr)
			})
		}
	}
}

// checkReplay checks the report of a dry run.
func (f *eventFormat) checkReplay(t *testing.T, file string, pages, code int, printed string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	var report replayed
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	counts := report.byOutcome()
	if counts["pending"] != f.events || counts["rejected"] != f.rejected || counts["skipped"] != pages {
		t.Errorf("outcomes %v, want %d pending, %d rejected, %d skipped", counts, f.events, f.rejected, pages)
	}
	switch {
	case f.fault == "" && len(report.Faults) > 0:
		t.Errorf("faults %v", report.Faults)
	case f.fault != "" && (len(report.Faults) != 1 || !strings.Contains(report.Faults[0].Fault, f.fault) ||
		!strings.Contains(printed, f.fault)):
		t.Errorf("faults %v, want %q\n%s", report.Faults, f.fault, printed)
	case f.fault == "" && f.rejected == 0 && code != exitOK, f.fault != "" && code != exitFailed:
		t.Errorf("exit code %d\n%s", code, printed)
	}
}

// checkMap checks the output of map.
func (f *eventFormat) checkMap(t *testing.T, pages, code int, stdout, stderr string) {
	t.Helper()
	counts := make(map[string]int)
	for line := range strings.Lines(stdout) {
		var result struct{ Result string }
		if err := json.Unmarshal([]byte(line), &result); err != nil {
			t.Fatal(err)
		}
		counts[result.Result]++
	}
	if counts["event"] != f.events || counts["reject"] != f.rejected || counts["skip"] != pages {
		t.Errorf("map: %v, want %d event, %d reject, %d skip", counts, f.events, f.rejected, pages)
	}
	if want := map[bool]int{true: exitOK, false: exitFailed}[f.fault == ""]; code != want ||
		!strings.Contains(stderr, f.fault) {
		t.Errorf("map: exit code %d, want %d, %s", code, want, stderr)
	}
}

// TestPassedOverReport checks that the report names the objects that were not read, and why.
func TestPassedOverReport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"events.ndjson": `{"type":"page"}`, "a.parquet": "PAR1", "b.parquet": "PAR1", "c.csv": "x", "d.zip": "PK",
		"empty.ndjson": "", ".hidden": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, ".report.json")
	// The archive is read for identify calls first. An object that is passed over counts once.
	code, stdout, stderr := runCommand(t, "", "replay", "--dry-run", "--progress", "none", "--data-dir", t.TempDir(),
		"--report", file, dir)
	if code != exitOK {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	for _, want := range []string{
		"6 objects passed over:\n",
		"  4, not the name of a log: " + dir + "/a.parquet, " + dir + "/b.parquet, " + dir + "/c.csv, …\n",
		"  1, empty: " + dir + "/empty.ndjson\n",
		"  1, a hidden file: " + dir + "/.hidden\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the report lacks %q:\n%s", want, stdout)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		PassedOver    int `json:"objects_passed_over"`
		PassedOverFor []struct {
			Reason  string
			Objects int
			First   []string
		} `json:"passed_over"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.PassedOver != 6 || len(report.PassedOverFor) != 3 || report.PassedOverFor[0].Objects != 4 ||
		len(report.PassedOverFor[0].First) != 3 {
		t.Errorf("%+v", report)
	}
}

// TestMapPromptly types lines. Each line has its result before the next line.
func TestMapPromptly(t *testing.T) {
	t.Parallel()
	for name, typed := range map[string][]string{
		"lines":  {`{"type":"page"}` + "\n", `{"type":"screen"}` + "\n"},
		"pretty": {"{\n\"type\":\n\"page\"}\n", "{\"type\":\n\"screen\"\n}\n"},
		"array":  {`[{"type":"page"},` + "\n", `{"type":"screen"}]` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			toMap, typing := io.Pipe()
			answers, fromMap := io.Pipe()
			done := make(chan int, 1)
			go func() {
				var stderr bytes.Buffer
				done <- run(t.Context(), []string{"map"}, func(string) (string, bool) { return "", false },
					toMap, fromMap, &stderr)
				_ = fromMap.Close()
			}()
			read := bufio.NewReader(answers)
			for i, text := range typed {
				if _, err := io.WriteString(typing, text); err != nil {
					t.Fatal(err)
				}
				answer, err := read.ReadString('\n')
				if want := []string{"page", "screen"}[i]; err != nil || !strings.Contains(answer, want) {
					t.Errorf("%q, %v, want one on %s", answer, err, want)
				}
			}
			_ = typing.Close()
			if code := <-done; code != exitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestLocationsWithoutLogs checks that a replay with nothing to read fails.
func TestLocationsWithoutLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flat := filepath.Join(dir, "flat", "srcA", "1793404800000")
	for _, folder := range []string{flat, filepath.Join(dir, "empty"), filepath.Join(dir, "plain")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(flat, "1.ndjson"), filepath.Join(dir, "plain", "1.ndjson")} {
		if err := os.WriteFile(file, []byte(`{"type":"page"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a day":          {[]string{"--from", "2026-10-31", "flat"}, exitOK, "1 lines"},
		"another day":    {[]string{"--from", "2026-11-02", "flat"}, exitOK, "0 lines"},
		"a source":       {[]string{"--source", "srcA", "flat/srcA"}, exitOK, "1 lines"},
		"another source": {[]string{"--source", "srcB", "flat"}, exitFailed, "there is srcA"},
		"nothing in a day": {[]string{"--from", "2026-10-31", "plain"}, exitFailed,
			"leave the day and source filters out"},
		"nothing of a source": {[]string{"--source", "srcA", "plain"}, exitFailed,
			"leave the day and source filters out"},
		"a file without a day": {[]string{"--to", "2026-10-31", "plain/1.ndjson"}, exitFailed,
			"leave the day and source filters out"},
		"an empty directory": {[]string{"empty"}, exitFailed, "no log is there"},
		"no directory":       {[]string{"absent"}, exitFailed, "no log is there"},
	} {
		t.Run(name, func(t *testing.T) {
			last := len(test.args) - 1
			args := append([]string{"replay", "--dry-run", "--progress", "none", "--data-dir", t.TempDir()},
				test.args[:last]...)
			code, stdout, stderr := runCommand(t, "", append(args, filepath.Join(dir, test.args[last]))...)
			if code != test.code || !strings.Contains(stdout+stderr, test.says) {
				t.Errorf("exit code %d, want %d\n%s%s", code, test.code, stdout, stderr)
			}
		})
	}
}
