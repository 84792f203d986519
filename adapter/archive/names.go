package archive

import (
	"strings"
	"time"
)

// These are the reasons why a listing passes over a file or folder.
const (
	passedDummy     = "Segment's check of the bucket"
	passedHidden    = "a hidden file"
	passedEmpty     = "empty"
	passedMarker    = "a marker of a folder"
	passedKind      = "not the name of a log"
	passedIrregular = "not a regular file"
	passedPlace     = "not where Segment's layout has logs"
	passedBeside    = "beside " + logsFolder
	passedNoDay     = "no received day or source to compare"
	passedDay       = "another received day"
	passedSource    = "another source"
)

// inside are the endings of logs in Segment's layout.
var inside = []string{".gz", ".zst", ".json", ".ndjson", ".jsonl", ".log"}

// never are the endings of other files that occur in directories: unfinished downloads, checksums,
// compressed files other than gzip and zstd, and tables such as those of Segment's Data Lakes.
var never = []string{
	".tmp", ".part", ".partial", ".crdownload", ".swp", "~",
	".crc", ".md5", ".sha1", ".sha256",
	".parquet", ".orc", ".avro", ".csv", ".html", ".md",
	".zip", ".tar", ".tar.gz", ".tgz", ".bz2", ".xz", ".7z",
}

// passOver returns the reason why a file of a listing is not read, empty if it is read. It is not
// asked for files that were named.
func passOver(e entry, in level) string {
	name := strings.ToLower(e.name)
	switch {
	case e.name == "":
		return passedMarker
	case name == "dummy-object.txt":
		return passedDummy
	case isHidden(e.name):
		return passedHidden
	case e.irregular:
		return passedIrregular
	case hasEnding(name, never), in == inDay && !hasEnding(name, inside):
		return passedKind
	case e.object.Size == 0:
		return passedEmpty
	default:
		return ""
	}
}

// isHidden reports whether a name is hidden by the conventions of Unix or Hadoop. Hadoop writes
// _SUCCESS and _temporary beside its output.
func isHidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

func hasEnding(name string, endings []string) bool {
	for _, ending := range endings {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return false
}

// filter selects the objects that are wanted.
type filter struct {
	from, to time.Time // days, both inclusive; zero is open
	sources  map[string]bool
}

// wants returns the reason why a place is not wanted, empty if it is wanted.
func (f *filter) wants(p place) string {
	switch p.level {
	case inLogs:
		return ""
	case outside:
		if f.active() {
			return passedNoDay
		}
		return ""
	}
	if len(f.sources) > 0 && !f.sources[p.source] {
		return passedSource
	}
	if p.level == inDay && (p.day.Before(f.from) || !f.to.IsZero() && p.day.After(f.to)) {
		return passedDay
	}
	return ""
}

func (f *filter) active() bool {
	return !f.from.IsZero() || !f.to.IsZero() || len(f.sources) > 0
}
