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
	// From and To bound the received day, both inclusive; the time of day makes no
	// difference, and UTC counts. Default: all days.
	From, To time.Time
	// Sources are the source ids that are wanted. Default: all.
	Sources []string
	// PassedOver is called for what a listing shows and is not read: its key and the
	// reason. A folder counts as one. The folders of sources and days that are not
	// wanted are not reported. It is called by [Archive.Objects] and [Archive.Read],
	// in the latter's own goroutine. Default: none.
	PassedOver func(key, reason string)
}

// Archive is the objects of some locations.
//
// With From, To or Sources, objects whose received day or source is not known are
// passed over. It is an error if one of them was named as a file, or is standard
// input, or if a location has no other objects.
//
// A listing passes over what is no log: hidden files, empty objects, markers of
// folders, Segment's dummy-object.txt, and names with the endings of other things,
// such as .parquet or .tmp. In the layout only .gz, .json, .ndjson, .jsonl and .log
// are logs, and only in the folder of a day or below: what Segment's migration guide
// has people write to segment-logs/test/segment-logs is not read unless that folder
// is the location. A file that was named is read whatever it is called, and so is
// one that a glob matches.
//
// Locations may overlap: an object comes once. Symbolic links are followed to tell
// directories, and files that were named, but not to tell the files of listings.
type Archive struct {
	options   Options
	filter    filter
	buckets   map[string]*bucket // by URL
	locations []location
}

// Open finds out what the locations are. An error wraps ErrLocation, ErrNothing,
// ErrNoDay, or is of the file system or the cloud; all locations that are wrong are
// in it.
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

// Close drops the idle connections to buckets. All readers have to be closed before.
func (a *Archive) Close() error {
	for _, b := range a.buckets {
		b.cloud.close()
	}
	clear(a.buckets)
	return nil
}

// Total is what an archive comes to.
type Total struct {
	Objects int64
	// Bytes is what the objects take as they are stored, without those whose size is
	// not known.
	Bytes int64
	// Unknown is how many objects have a size that is not known.
	Unknown int64
	// PassedOver is how many were passed over, as in [Options].
	PassedOver int64
}

// Total lists all objects, and so takes as long as their listing: a request for
// each thousand of a bucket, and one or two for each folder. It is meant for the
// background; it may run beside readers.
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
