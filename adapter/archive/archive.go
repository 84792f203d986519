package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Options sets which objects of the locations are wanted.
type Options struct {
	// Stdin is what the location - stands for.
	Stdin io.Reader
	// From and To bound the received day in UTC, both inclusive. The time of day makes no difference.
	// Default: all days.
	From, To time.Time
	// Sources are the source ids that are wanted. Default: all.
	Sources []string
	// PassedOver reports each file and folder of a listing that is not read: its key and the reason.
	// It leaves out the folders of sources and days that are not wanted. [Archive.Objects] calls it,
	// and [Archive.Read] in its own goroutine. Default: none.
	PassedOver func(key, reason string)
}

// Archive is the objects of some locations.
//
// With From, To or Sources, an archive passes over objects whose received day or source is
// unknown. It is an error if such an object is named as a file or is standard input, or if a
// location has no other objects.
//
// A listing passes over files that are no logs: hidden files, empty objects, markers of folders,
// Segment's dummy-object.txt, and names with other endings, such as .parquet or .tmp. In the
// layout only .gz, .json, .ndjson, .jsonl and .log are logs, and only in the folder of a day or
// below. Segment's migration guide lets its readers write to segment-logs/test/segment-logs; an
// archive reads that folder only if it is the location. It reads every file that is named or that
// a glob matches.
//
// Locations may overlap: an object comes once. Symbolic links are followed to recognize
// directories and named files, but not to recognize the files of listings.
type Archive struct {
	options   Options
	filter    filter
	buckets   map[string]*bucket // by URL
	locations []location
}

// Open resolves the locations. Its error names all locations that are wrong. It wraps ErrLocation,
// ErrNothing or ErrNoDay, or an error of the file system or the cloud.
func Open(ctx context.Context, locations []string, o Options) (*Archive, error) {
	a := &Archive{options: o, buckets: make(map[string]*bucket),
		filter: filter{from: dayOf(o.From), to: dayOf(o.To), sources: make(map[string]bool)}}
	for _, source := range o.Sources {
		a.filter.sources[source] = true
	}
	var wrong []error
	if len(locations) == 0 {
		wrong = append(wrong, fmt.Errorf("%w: none is given: name a file, a directory, a bucket's URL, or - for "+
			"standard input", ErrLocation))
	}
	for _, given := range locations {
		found, err := a.resolve(ctx, given)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		a.locations = append(a.locations, found...)
	}
	if err := errors.Join(wrong...); err != nil {
		_ = a.Close() // nothing of it has been used
		return nil, err
	}
	return a, nil
}

// Close drops the idle connections to buckets. The caller closes all readers before.
func (a *Archive) Close() error {
	for _, b := range a.buckets {
		b.cloud.close()
	}
	clear(a.buckets)
	return nil
}

// Total is the size of an archive.
type Total struct {
	Objects int64
	// Bytes is the size of the objects as stored, without those of unknown size.
	Bytes int64
	// Unknown is the number of objects of unknown size.
	Unknown int64
	// PassedOver is the number of files and folders that [Options] reports.
	PassedOver int64
}

// Total lists all objects: a request for each thousand of a bucket, and one or two for each
// folder. It may run beside readers.
func (a *Archive) Total(ctx context.Context) (Total, error) {
	var t Total
	w := newWalk(ctx, a, func(string, string) { t.PassedOver++ })
	var failed error
	w.run(func(o Object, err error) bool {
		if err != nil {
			failed = err
			return false
		}
		t.Objects++
		if o.Size < 0 {
			t.Unknown++
		} else {
			t.Bytes += o.Size
		}
		return true
	})
	return t, failed
}
