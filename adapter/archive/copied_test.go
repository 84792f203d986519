package archive_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
)

// copiedTree is the content of segment-logs, copied without that folder, with other files that may
// lie there.
func copiedTree() []string {
	return []string{
		"copy/srcA/" + millis(monday) + "/1.gz",
		"copy/srcA/" + millis(monday) + "/again/2.gz",
		"copy/srcA/" + millis(tuesday) + "/1.json.zst",
		"copy/srcA/" + millis(tuesday) + "/odd name.txt",
		"copy/srcB/" + millis(monday) + "/1.gz",
		"copy/srcB/" + millis(wednesday) + "/1.parquet",
		"copy/srcB/notes.ndjson",
		"copy/srcB/" + millis(monday.Add(time.Hour)) + "/1.gz", // no start of a day
		"copy/srcB/" + seconds(monday) + "/1.gz",
		"backup/" + millis(monday) + "/segment-logs/src1/" + millis(tuesday) + "/1.gz",
		"plain/a.ndjson",
		"plain/sub/b.ndjson",
		"nothing/a.parquet",
		"nothing/b.csv",
	}
}

func TestCopiedLayout(t *testing.T) {
	dir := tree(t, copiedTree()...)
	objects := make(map[string][]byte)
	for _, key := range copiedTree() {
		objects["deep/er/"+key] = []byte(key + "\n")
	}
	bucket := archivetest.ServeS3(t, "logs", objects)

	monA, again, monB := "copy/srcA/"+millis(monday)+"/1.gz", "copy/srcA/"+millis(monday)+"/again/2.gz",
		"copy/srcB/"+millis(monday)+"/1.gz"
	tueA, oddA := "copy/srcA/"+millis(tuesday)+"/1.json.zst", "copy/srcA/"+millis(tuesday)+"/odd name.txt"
	backup := "backup/" + millis(monday) + "/segment-logs/src1/" + millis(tuesday) + "/1.gz"
	undated := []string{"copy/srcB/" + seconds(monday) + "/1.gz",
		"copy/srcB/" + millis(monday.Add(time.Hour)) + "/1.gz", "copy/srcB/notes.ndjson"}
	all := slices.Concat(undated, []string{monA, again, monB, tueA, oddA})
	from, to, only := archive.Options{From: tuesday}, archive.Options{To: monday},
		archive.Options{Sources: []string{"srcA"}}
	for name, test := range map[string]struct {
		at    string
		o     archive.Options
		want  []string
		fault error
		says  string
	}{
		"all":    {at: "copy", want: all},
		"from":   {at: "copy", o: from, want: []string{tueA, oddA}},
		"to":     {at: "copy", o: to, want: []string{monA, again, monB}},
		"source": {at: "copy", o: only, want: []string{monA, again, tueA, oddA}},
		"source and day": {at: "copy", o: archive.Options{To: monday, Sources: []string{"srcB"}},
			want: []string{monB}},
		"no such source": {at: "copy", o: archive.Options{Sources: []string{"srcC"}},
			fault: archive.ErrNoSource, says: "there is srcA, srcB"},
		"a source's folder":       {at: "copy/srcA", o: from, want: []string{tueA, oddA}},
		"a source's folder, it":   {at: "copy/srcA/", o: only, want: []string{monA, again, tueA, oddA}},
		"another source's folder": {at: "copy/srcB", o: only, fault: archive.ErrNoSource, says: "there is srcB"},
		"a day's folder":          {at: "copy/srcA/" + millis(monday), o: to, want: []string{monA, again}},
		"a day's folder, source":  {at: "copy/srcA/" + millis(monday), o: only, want: []string{monA, again}},
		"another day's folder":    {at: "copy/srcA/" + millis(monday), o: from},
		"a file": {at: monA, o: archive.Options{To: monday, Sources: []string{"srcA"}},
			want: []string{monA}},
		"above":          {at: "", o: to, want: []string{monA, again, monB}},
		"above, from":    {at: "", o: from, want: []string{backup, tueA, oddA}},
		"a day's backup": {at: "backup/" + millis(monday), o: from, want: []string{backup}},
		"no day anywhere": {at: "plain", o: from, fault: archive.ErrNoDay,
			says: "2 logs have no received day"},
		"no source anywhere": {at: "plain", o: only, fault: archive.ErrNoDay,
			says: "leave the day and source filters out"},
		"no log": {at: "nothing", fault: archive.ErrNothing,
			says: "a.parquet (not the name of a log)"},
	} {
		for where, location := range map[string]string{"local": filepath.Join(dir, test.at),
			"bucket": bucket.URL("logs", "deep/er/"+test.at)} {
			t.Run(name+"/"+where, func(t *testing.T) {
				prefix := dir
				if where == "bucket" {
					prefix = "s3://logs/deep/er"
				}
				found, err := keys(t, open(t, test.o, location), prefix)
				if !slices.Equal(found, test.want) || !errors.Is(err, test.fault) || err != nil &&
					!strings.Contains(err.Error(), test.says) {
					t.Errorf("%v\n%s\nwant %v\n%s", err, strings.Join(found, "\n"), test.fault,
						strings.Join(test.want, "\n"))
				}
			})
		}
	}
	for glob, test := range map[string]struct {
		o    archive.Options
		want []string
	}{
		"copy/*":                                  {to, []string{monA, again, monB}},
		"copy/srcA/*":                             {from, []string{tueA, oddA}},
		"copy/*/" + millis(monday):                {only, []string{monA, again}},
		"copy/*/" + millis(monday) + "/*.gz":      {to, []string{monA, monB}},
		"copy/src[A]/" + millis(tuesday) + "/1.*": {from, []string{tueA}},
	} {
		if found, err := keys(t, open(t, test.o, filepath.Join(dir, glob)), dir); err != nil ||
			!slices.Equal(found, test.want) {
			t.Errorf("%s: %q, %v, want %q", glob, found, err, test.want)
		}
	}

	for o, err := range open(t, archive.Options{}, filepath.Join(dir, "copy", "srcA")).Objects(t.Context()) {
		if err != nil || o.Source != "srcA" || !o.Day.Equal(monday) && !o.Day.Equal(tuesday) {
			t.Errorf("%s: source %q, day %v, %v", o.Key, o.Source, o.Day, err)
		}
	}
	t.Chdir(filepath.Join(dir, "copy", "srcA", millis(monday)))
	if found, err := keys(t, open(t, to, "."), ""); err != nil ||
		!slices.Equal(found, []string{"1.gz", "again/2.gz"}) {
		t.Errorf("the folder of a day itself: %q, %v", found, err)
	}
}
