package archive_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/archive"
)

// dayOf parses a received day of the layout, in a simpler way.
func dayOf(name string) (time.Time, bool) {
	if !regexp.MustCompile(`^[1-9]([0-9]{9}|[0-9]{12})$`).MatchString(name) {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(name[:10], 10, 64)
	at := time.Unix(n, 0).UTC()
	return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC), err == nil
}

func TestDays(t *testing.T) {
	for name, want := range map[string]string{
		"1432684800000":  "2015-05-27", // the days of public examples
		"1441152000000":  "2015-09-02",
		"1544572800000":  "2018-12-12",
		"1544572800":     "2018-12-12",
		"1544659199999":  "2018-12-12",
		"9999999999999":  "2286-11-20",
		"0544572800000":  "",
		"154457280000":   "",
		"15445728000000": "",
		"154457280000x":  "",
		"-544572800000":  "",
		"2018-12-12":     "",
		"day=2018-12-12": "",
	} {
		dir := tree(t, "segment-logs/src1/"+name+"/1.gz")
		got := ""
		for o := range open(t, archive.Options{}, dir).Objects(t.Context()) {
			if got = o.Day.Format(time.DateOnly); o.Day.IsZero() {
				got = ""
			}
		}
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// FuzzLayout compares a listing and a named file with a simpler reading of the path.
func FuzzLayout(f *testing.F) {
	f.Add("src1", "1544572800000", "1.gz")
	f.Add("src1", "1544572800", "sub/1.JSON")
	f.Add("test", "segment-logs", "src1/1544572800000/1.gz")
	f.Add("segment-logs", "segment-logs", "1544572800000/1.gz")
	f.Add("_temporary", "1544572800000", ".x")
	f.Fuzz(func(t *testing.T, source, day, name string) {
		path := "segment-logs/" + source + "/" + day + "/" + name
		if len(path) > 200 || strings.ContainsAny(path, "\x00*?[\\") || path != filepath.Clean(path) ||
			slices.Contains(strings.Split(path, "/"), "..") ||
			strings.Contains(source, "/") || strings.Contains(day, "/") {
			return
		}
		dir := t.TempDir()
		if os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755) != nil ||
			os.WriteFile(filepath.Join(dir, path), []byte("a\n"), 0o644) != nil {
			return // not a name for this file system
		}
		want, isDay := dayOf(day)
		log := isDay && regexp.MustCompile(`(?i)\.(gz|json|ndjson|jsonl|log)$`).MatchString(name) &&
			!regexp.MustCompile(`(?i)\.tar\.gz$`).MatchString(name) &&
			!strings.HasPrefix(source, ".") && !strings.HasPrefix(source, "_")
		for part := range strings.SplitSeq(name, "/") {
			log = log && !strings.HasPrefix(part, ".") && !strings.HasPrefix(part, "_")
		}
		listed := 0
		for o, err := range open(t, archive.Options{}, dir).Objects(t.Context()) {
			if err != nil {
				break // no log is there
			}
			listed++
			if o.Source != source || !o.Day.Equal(want) {
				t.Errorf("%s: source %q, day %v", path, o.Source, o.Day)
			}
		}
		if (listed == 1) != log {
			t.Errorf("%s: %d objects, a log: %v", path, listed, log)
		}
		for o, err := range open(t, archive.Options{}, filepath.Join(dir, path)).Objects(t.Context()) {
			if err != nil {
				t.Errorf("%s, named: %v", path, err)
			}
			if isDay && !slices.Contains(strings.Split(day+"/"+name, "/"), "segment-logs") &&
				(o.Source != source || !o.Day.Equal(want)) {
				t.Errorf("%s, named: source %q, day %v", path, o.Source, o.Day)
			}
		}
	})
}
