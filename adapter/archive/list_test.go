package archive_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/archive"
)

var (
	monday    = time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)
	tuesday   = monday.AddDate(0, 0, 1)
	wednesday = monday.AddDate(0, 0, 2)
)

func millis(day time.Time) string  { return strconv.FormatInt(day.UnixMilli(), 10) }
func seconds(day time.Time) string { return strconv.FormatInt(day.Unix(), 10) }

// tree writes one file for each path, with a line in it unless it is to be empty.
func tree(t testing.TB, paths ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, path := range paths {
		path, empty := strings.CutSuffix(path, " (empty)")
		content := []byte(path + "\n")
		if empty {
			content = nil
		}
		write(t, filepath.Join(dir, path), content)
	}
	return dir
}

// keys lists an archive, without dir at the start of the keys. It checks that Total agrees.
func keys(t testing.TB, a *archive.Archive, dir string) (found []string, failed error) {
	t.Helper()
	var bytes int64
	for o, err := range a.Objects(t.Context()) {
		if err != nil {
			failed = err
			break
		}
		found = append(found, strings.TrimPrefix(o.Key, dir+"/"))
		bytes += max(o.Size, 0)
	}
	total, err := a.Total(t.Context())
	if (err == nil) != (failed == nil) || total.Objects != int64(len(found)) || total.Bytes != bytes {
		t.Errorf("total %+v, %v of %d objects with %d bytes, %v", total, err, len(found), bytes, failed)
	}
	return found, failed
}

// layout is the content of a bucket as Segment leaves it, with other files that occur.
func layout() []string {
	logs := "data/segment-logs/"
	return []string{
		logs + "dummy-object.txt",
		logs + "test/segment-logs/src1/" + millis(monday) + "/check.gz",
		logs + "src2/" + millis(monday) + "/1.gz",
		logs + "src1/" + millis(wednesday) + "/1.gz",
		logs + "src1/" + millis(monday) + "/2.gz",
		logs + "src1/" + millis(monday) + "/1.gz",
		logs + "src1/" + millis(monday) + "/again/1.json",
		logs + "src1/" + seconds(tuesday) + "/1.ndjson",
		logs + "src1/" + millis(tuesday.Add(5*time.Hour)) + "/2.log",
		logs + "src1/" + millis(monday) + "/empty.gz (empty)",
		logs + "src1/" + millis(monday) + "/.DS_Store",
		logs + "src1/" + millis(monday) + "/_SUCCESS",
		logs + "src1/" + millis(monday) + "/1.gz.crc",
		logs + "src1/" + millis(monday) + "/1.parquet",
		logs + "src1/" + millis(monday) + "/notes.txt",
		logs + "src1/2026-10-05/1.gz",
		logs + "src1/stray.gz",
		"data/beside.ndjson",
		"data/tables/src1/1.gz",
	}
}

func TestLayout(t *testing.T) {
	dir := tree(t, layout()...)
	src1, src2 := "data/segment-logs/src1/", "data/segment-logs/src2/"
	mondays := []string{src1 + millis(monday) + "/1.gz", src1 + millis(monday) + "/2.gz",
		src1 + millis(monday) + "/again/1.json", src2 + millis(monday) + "/1.gz"}
	tuesdays := []string{src1 + seconds(tuesday) + "/1.ndjson", src1 + millis(tuesday.Add(5*time.Hour)) + "/2.log"}
	wednesdays := []string{src1 + millis(wednesday) + "/1.gz"}
	all := slices.Concat(mondays, tuesdays, wednesdays)
	tests := map[string]struct {
		at   []string
		o    archive.Options
		want []string
	}{
		"root":           {at: []string{"data"}, want: all},
		"above the root": {at: []string{""}, want: all},
		"logs":           {at: []string{"data/segment-logs"}, want: all},
		"source":         {at: []string{"data/segment-logs/src2"}, want: mondays[3:]},
		"day":            {at: []string{src1 + millis(monday)}, want: mondays[:3]},
		"below a day":    {at: []string{src1 + millis(monday) + "/again"}, want: mondays[2:3]},
		"file":           {at: []string{mondays[1]}, want: mondays[1:2]},
		"glob":           {at: []string{src1 + "*/1.*"}, want: nil},
		"the check itself": {at: []string{"data/segment-logs/test"},
			want: []string{"data/segment-logs/test/segment-logs/src1/" + millis(monday) + "/check.gz"}},
		"from": {at: []string{"data"}, o: archive.Options{From: tuesday.Add(23 * time.Hour)},
			want: slices.Concat(tuesdays, wednesdays)},
		"to": {at: []string{"data"}, o: archive.Options{To: tuesday.Add(time.Hour)},
			want: slices.Concat(mondays, tuesdays)},
		"one day": {at: []string{""}, o: archive.Options{From: tuesday, To: tuesday}, want: tuesdays},
		"no day":  {at: []string{""}, o: archive.Options{To: monday.AddDate(0, 0, -1)}, want: nil},
		"source wanted": {at: []string{"data"}, o: archive.Options{Sources: []string{"src2"}},
			want: mondays[3:]},
		"source and day": {at: []string{"data"},
			o: archive.Options{From: tuesday, Sources: []string{"src2"}}, want: nil},
		"file of the day": {at: []string{mondays[1]},
			o: archive.Options{From: monday, Sources: []string{"src1"}}, want: mondays[1:2]},
		"file of another day": {at: []string{mondays[1]}, o: archive.Options{From: tuesday}, want: nil},
		"twice":               {at: []string{"data", "data"}, want: all},
		"below and above":     {at: []string{src1 + millis(monday), mondays[0], "data"}, want: all},
		"above and below":     {at: []string{"data", "data/segment-logs/src1", mondays[0], mondays[0]}, want: all},
		"a day's part, and it": {at: []string{src1 + millis(monday) + "/again", src1 + millis(monday)},
			want: mondays[:3]},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var at []string
			for _, below := range test.at {
				at = append(at, filepath.Join(dir, below))
			}
			a := open(t, test.o, at...)
			if name == "glob" { // it names what it matches, so that is read whatever it is called
				test.want = slices.Concat([]string{src1 + "2026-10-05/1.gz"}, mondays[:1],
					[]string{src1 + millis(monday) + "/1.gz.crc", src1 + millis(monday) + "/1.parquet"},
					tuesdays[:1], wednesdays)
			}
			got, err := keys(t, a, dir)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}

	a := open(t, archive.Options{}, filepath.Join(dir, "data"))
	for o, err := range a.Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if parts := strings.Split(o.Key, "/"); o.Source != parts[slices.Index(parts, "segment-logs")+1] {
			t.Errorf("%s: source %q", o.Key, o.Source)
		}
		if o.Day.Hour() != 0 || o.Day.Before(monday) || o.Day.After(wednesday) || o.Version == "" || o.Size <= 0 {
			t.Errorf("object %+v", o)
		}
	}
}

func TestPassedOver(t *testing.T) {
	dir := tree(t, layout()...)
	passed := make(map[string]string)
	o := archive.Options{PassedOver: func(key, reason string) {
		passed[strings.TrimPrefix(key, dir+"/data/")] = reason
	}}
	for _, err := range open(t, o, filepath.Join(dir, "data")).Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	day := "segment-logs/src1/" + millis(monday)
	for key, reason := range map[string]string{
		"segment-logs/dummy-object.txt":  "check",
		"segment-logs/test/segment-logs": "layout",
		"segment-logs/src1/2026-10-05":   "layout",
		"segment-logs/src1/stray.gz":     "layout",
		day + "/empty.gz":                "empty",
		day + "/.DS_Store":               "hidden",
		day + "/_SUCCESS":                "hidden",
		day + "/1.gz.crc":                "not the name",
		day + "/1.parquet":               "not the name",
		day + "/notes.txt":               "not the name",
		"beside.ndjson":                  "beside",
		"tables":                         "beside",
	} {
		if !strings.Contains(passed[key], reason) {
			t.Errorf("%s is passed over for %q", key, passed[key])
		}
		delete(passed, key)
	}
	if len(passed) > 0 {
		t.Errorf("passed over as well: %q", passed)
	}
}

func TestPlainFiles(t *testing.T) {
	dir := tree(t, "b.ndjson", "a/2.gz", "a/1.gz", "a-1.gz", "c.tmp", "odd name [1] %20?.json", ".hidden/1.gz",
		"x.csv")
	if err := os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "z")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "a", "loop")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.gz")); err != nil {
		t.Fatal(err)
	}
	got, err := keys(t, open(t, archive.Options{}, dir), dir)
	want := []string{"a-1.gz", "a/1.gz", "a/2.gz", "b.ndjson", "dangling.gz", "odd name [1] %20?.json"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	g := readAll(t, open(t, archive.Options{}, dir), archive.ReadOptions{})
	if fault := g.fault[filepath.Join(dir, "dangling.gz")]; !errors.Is(fault, os.ErrNotExist) {
		t.Errorf("the link to nowhere: %v", fault)
	}
	for key, fault := range g.fault {
		if !strings.HasSuffix(key, "dangling.gz") && (fault != nil || len(g.lines[key]) != 1) {
			t.Errorf("%s: %q, %v", key, g.lines[key], fault)
		}
	}

	t.Chdir(dir)
	for _, spelling := range []string{"./a", "a/", "a", "z/../a"} {
		if got, err := keys(t, open(t, archive.Options{}, spelling), ""); err != nil ||
			!slices.Equal(got[:2], []string{"a/1.gz", "a/2.gz"}) {
			t.Errorf("%s: %q, %v", spelling, got, err)
		}
	}
	// In the order of locations. The names make no difference then.
	got, err = keys(t, open(t, archive.Options{}, "x.csv", "odd name [1] %20?.json", "a-?.gz",
		filepath.Join(dir, "x.csv")), "")
	if want := []string{"x.csv", "odd name [1] %20?.json", "a-1.gz"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything: run as another user")
	}
	dir := tree(t, "a.gz", "b.gz", "c/1.gz", "d.gz")
	for _, name := range []string{"b.gz", "c"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "c"), 0o755) })
	g := readAll(t, open(t, archive.Options{}, dir), archive.ReadOptions{})
	for _, name := range []string{"b.gz", "c"} {
		if fault := g.fault[filepath.Join(dir, name)]; !errors.Is(fault, os.ErrPermission) {
			t.Errorf("%s: %v", name, fault)
		}
	}
	if len(g.keys) != 4 || len(g.lines) != 2 {
		t.Errorf("objects %q, lines %q", g.keys, g.lines)
	}
}

func TestNotALocation(t *testing.T) {
	dir := tree(t, "plain.ndjson", "empty/.keep", "segment-logs/src1/"+millis(monday)+"/1.gz")
	for name, test := range map[string]struct {
		at   string
		o    archive.Options
		want error
		says string
	}{
		"nothing":        {at: "", want: archive.ErrLocation, says: "empty"},
		"no file":        {at: dir + "/nothing.gz", want: archive.ErrNothing, says: "/nothing.gz"},
		"no match":       {at: dir + "/*.gz", want: archive.ErrNothing, says: "/*.gz"},
		"bad pattern":    {at: dir + "/[", want: archive.ErrLocation, says: "/["},
		"unknown scheme": {at: "ftp://host/file", want: archive.ErrLocation, says: "s3://"},
		"no bucket":      {at: "s3:///prefix", want: archive.ErrLocation, says: "name is missing"},
		"no stdin":       {at: "-", want: archive.ErrLocation, says: "standard input"},
		"file without a day": {at: dir + "/plain.ndjson", o: archive.Options{From: monday}, want: archive.ErrNoDay,
			says: "plain.ndjson has no received day"},
		"stdin with a day": {at: "-", o: archive.Options{Stdin: strings.NewReader(""),
			Sources: []string{"src1"}}, want: archive.ErrNoDay, says: "standard input has no received day"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := archive.Open(t.Context(), []string{test.at}, test.o); !errors.Is(err, test.want) ||
				!strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := archive.Open(t.Context(), nil, archive.Options{}); !errors.Is(err, archive.ErrLocation) {
		t.Errorf("no location at all: %v", err)
	}

	// These show when they are listed.
	if _, err := keys(t, open(t, archive.Options{}, dir+"/empty"), ""); !errors.Is(err, archive.ErrNothing) ||
		!strings.Contains(err.Error(), "/empty") {
		t.Errorf("a directory without logs: %v", err)
	}
	if got, err := keys(t, open(t, archive.Options{Sources: []string{"src1", "scr1"}}, dir), ""); !errors.Is(err,
		archive.ErrNoSource) || len(got) != 1 || !strings.Contains(err.Error(), "scr1") {
		t.Errorf("a mistyped source: %q, %v", got, err)
	}
	r := open(t, archive.Options{}, dir+"/empty").Read(t.Context(), archive.ReadOptions{})
	if _, err := r.Next(); !errors.Is(err, archive.ErrNothing) {
		t.Errorf("reading a directory without logs: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "a.ndjson"), []byte("one\n"))
	version := func() (v string) {
		for o, err := range open(t, archive.Options{}, path).Objects(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			v = o.Version
		}
		return v
	}
	first := version()
	if again := version(); again != first || first == "" {
		t.Errorf("version %q, then %q", first, again)
	}
	a := open(t, archive.Options{}, path)
	write(t, path, []byte("other\n"))
	if second := version(); second == first {
		t.Errorf("still version %q", second)
	}
	if g := readAll(t, a, archive.ReadOptions{}); !errors.Is(g.fault[path], archive.ErrChanged) ||
		len(g.lines[path]) != 0 {
		t.Errorf("a file that has changed: %q, %v", g.lines[path], g.fault[path])
	}
}

func TestListingStops(t *testing.T) {
	dir := tree(t, layout()...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := open(t, archive.Options{}, dir)
	var failed error
	for _, err := range a.Objects(ctx) {
		cancel()
		failed = err
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("error %v", failed)
	}
	for range a.Objects(t.Context()) {
		break
	}
	r := a.Read(ctx, archive.ReadOptions{})
	if _, err := r.Next(); !errors.Is(err, context.Canceled) || err == io.EOF {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
