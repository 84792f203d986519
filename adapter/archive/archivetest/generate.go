package archivetest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Options sets the content of an archive.
type Options struct {
	// Seed makes another archive of the same kind. Default: 0.
	Seed uint64
	// Now is in the last received day, and no event is received after it. Events that
	// are too old were made 200 days before it or earlier. It has to be set.
	Now time.Time
	// Sources are the source ids. Default: two of them.
	Sources []string
	// Days is the number of received days, up to Now's. Default: 3.
	Days int
	// EventsPerDay is the approximate number of lines of a source on a day. Default: 200.
	EventsPerDay int
	// Clean leaves out the damaged files. Default: there are some.
	Clean bool
}

// Damage is the fault of a file.
type Damage int

const (
	// Whole files can be read to their end.
	Whole Damage = iota
	// Truncated files end within their gzip.
	Truncated
	// Corrupt files have invalid gzip from the tail on.
	Corrupt
	// BadChecksum files have all their lines, and a wrong checksum at the end.
	BadChecksum
)

// File is one file of an archive.
type File struct {
	Key     string // from the layout's root: segment-logs/…
	Content []byte
	Damage  Damage
	Log     bool // a reader is to read it
}

// Line is one line that is neither blank nor in a file that is no log.
type Line struct {
	Key    string // of the file
	Number int64  // from 1, blank lines included
	Text   string // without its end

	// Broken means that the line is no JSON. The fields below MessageID are those of the event it was
	// cut from.
	Broken bool
	// Tail means that the line comes after the damage of its file: no reader returns it.
	Tail bool
	// Duplicate means that a line with the same MessageID comes earlier in the order of days, sources
	// and keys, and is neither Broken nor in a Tail.
	Duplicate bool

	MessageID string
	// ValidKey means that MessageID can be an idempotency key: 8 to 64 characters of A-Z a-z 0-9 - _
	// and the dot.
	ValidKey     bool
	Type         string
	Event        string // of a track, otherwise empty
	UserID       string // empty if the user is anonymous
	Timestamp    time.Time
	Integrations string // JSON, empty if the event has none
}

// Archive is an archive as Segment writes it to a bucket.
type Archive struct {
	Files []File
	Lines []Line // in the order of days, sources, keys and numbers
}

// Generate makes an archive. The same options make the same archive.
func Generate(o Options) *Archive {
	if len(o.Sources) == 0 {
		o.Sources = []string{"aB3dE5fG7h", "kL9mN1oP3q"}
	}
	if o.Days == 0 {
		o.Days = 3
	}
	if o.EventsPerDay == 0 {
		o.EventsPerDay = 200
	}
	g := &generator{events: events{random: rand.New(rand.NewPCG(o.Seed, 0x5e6)),
		now: o.Now.UTC().Truncate(time.Millisecond)}, archive: new(Archive), seen: make(map[string]bool)}
	g.file("segment-logs/dummy-object.txt", []byte("Segment wrote this to check the bucket\n"), Whole, false)
	day := g.now.Truncate(24*time.Hour).AddDate(0, 0, 1-o.Days)
	g.file(fmt.Sprintf("segment-logs/test/segment-logs/%s/%d/check.gz", o.Sources[0], day.UnixMilli()),
		pack([]byte(`{"type":"track","messageId":"not-to-be-read"}`+"\n")), Whole, false)
	for n := range o.Days {
		for i, source := range o.Sources {
			folder := fmt.Sprintf("segment-logs/%s/%d/", source, day.UnixMilli())
			g.day(folder, day, o.EventsPerDay, n+i, o.Clean)
		}
		day = day.AddDate(0, 0, 1)
	}
	return g.archive
}

type generator struct {
	events
	archive *Archive
	sent    []Line          // that may come again
	seen    map[string]bool // message ids that a reader gets
}

// forms are the files that a day has, in the order of their keys. Each takes its
// share of the events.
var forms = []struct {
	name   string
	damage Damage
	every  int // that many days have one
}{
	{"1-plain.gz", Whole, 1},
	{"2-crlf.gz", Whole, 1},
	{"3-members.gz", Whole, 1},
	{"4-truncated.gz", Truncated, 3},
	{"5-corrupt.gz", Corrupt, 3},
	{"6-checksum.gz", BadChecksum, 3},
	{"7-last.gz", Whole, 1},
}

func (g *generator) day(folder string, day time.Time, count, turn int, clean bool) {
	per := max(1, count/len(forms))
	for i, form := range forms {
		if form.damage != Whole && (clean || (turn+i)%form.every != 0) {
			continue
		}
		key := fmt.Sprintf("%s%d.%s.%s", folder, day.Add(time.Duration(i+1)*time.Hour).UnixMilli(), g.hex(12),
			form.name)
		// The names begin with a time, and so are in order.
		end := "\n"
		if strings.HasPrefix(form.name, "2") {
			end = "\r\n"
		}
		number := int64(0)
		first := g.text(key, day, per, end, &number, false)
		second := g.text(key, day, per, end, &number, form.damage == Truncated || form.damage == Corrupt)
		var content []byte
		switch {
		case form.damage == Truncated || form.damage == Corrupt:
			content = damaged(first, second, form.damage)
		case form.damage == BadChecksum:
			content = pack(append(first, second...))
			content[len(content)-8] ^= 1
		case strings.HasPrefix(form.name, "1"):
			content = append(first, second...)
		case strings.HasPrefix(form.name, "3"):
			content = append(pack(first), pack(second)...)
		default:
			content = pack(bytes.TrimSuffix(append(first, second...), []byte(end)))
		}
		g.file(key, content, form.damage, true)
	}
	g.file(folder+"empty.gz", nil, Whole, false)
	g.file(folder+".DS_Store", []byte("\x00\x00\x00\x01Bud1"), Whole, false)
	g.file(folder+"table.parquet", []byte("PAR1PAR1"), Whole, false)
}

// text makes some lines of a file.
func (g *generator) text(key string, day time.Time, count int, end string, number *int64, tail bool) []byte {
	var text []byte
	for range count {
		if g.random.IntN(40) == 0 {
			*number++
			text = append(text, end...)
		}
		var line Line
		if len(g.sent) > 0 && g.random.IntN(12) == 0 {
			line = g.sent[g.random.IntN(len(g.sent))]
		} else {
			line = g.event(day)
			line.Broken = g.random.IntN(50) == 0
			if line.Broken {
				line.Text = line.Text[:len(line.Text)*(1+g.random.IntN(8))/10]
			} else if !tail {
				g.sent = append(g.sent, line)
			}
		}
		*number++
		line.Key, line.Number, line.Tail = key, *number, tail
		line.Duplicate = g.seen[line.MessageID]
		if !line.Broken && !tail {
			g.seen[line.MessageID] = true
		}
		g.archive.Lines = append(g.archive.Lines, line)
		text = append(append(text, line.Text...), end...)
	}
	return text
}

func (g *generator) file(key string, content []byte, damage Damage, log bool) {
	g.archive.Files = append(g.archive.Files, File{Key: key, Content: content, Damage: damage, Log: log})
}

func pack(members ...[]byte) []byte {
	var out bytes.Buffer
	for _, member := range members {
		w := gzip.NewWriter(&out)
		_, _ = w.Write(member) // a buffer takes everything
		_ = w.Close()
	}
	return out.Bytes()
}

// damaged compresses two parts. The first can be decompressed, and no byte of the second.
func damaged(first, second []byte, damage Damage) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(first) // a buffer takes everything
	_ = w.Flush()
	cut := out.Len()
	_, _ = w.Write(second)
	_ = w.Close()
	content := out.Bytes()
	if damage == Truncated {
		return content[:cut+5] // within the header of a block
	}
	content[cut] = 0xff // a block of a type that there is not
	return content
}

// WriteDir writes the archive below a directory.
func (a *Archive) WriteDir(t testing.TB, dir string) {
	t.Helper()
	for _, file := range a.Files {
		path := filepath.Join(dir, filepath.FromSlash(file.Key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.Content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Upload writes the archive to a bucket below a prefix, which is empty or ends in a
// slash. As Segment's, its objects say that they are text in gzip.
func (a *Archive) Upload(t testing.TB, bucket *Bucket, prefix string) {
	t.Helper()
	for _, file := range a.Files {
		bucket.Put(t, prefix+file.Key, file.Content, Text)
	}
}
