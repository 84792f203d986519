package archive

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// location is the folder or object that a given location resolves to.
type location struct {
	given  string // without its query
	tree   tree   // with a folder
	folder string
	named  *Object // instead of a folder
	place  place   // of the folder, or of the folder of the object
}

// resolve resolves a location.
func (a *Archive) resolve(ctx context.Context, given string) ([]location, error) {
	if given == "" {
		return nil, fmt.Errorf("%w: it is empty: name a file, a directory, a bucket's URL, or - for standard "+
			"input", ErrLocation)
	}
	if given == "-" {
		return a.resolveStdin()
	}
	scheme, rest, isURL := strings.Cut(given, "://")
	switch {
	case isURL && clouds[scheme] != nil:
		return a.resolveBucket(ctx, scheme, rest)
	case exists(given):
		l, err := a.resolvePath(given)
		return []location{l}, err
	case isURL:
		return nil, fmt.Errorf("%w: %s://: it has to be s3://, gs:// or azblob://, or the path of a file or "+
			"directory", ErrLocation, scheme)
	}
	paths, err := glob(given)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLocation, given, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("find %s: %w: check the path, or give s3://bucket/prefix for a bucket", given,
			ErrNothing)
	}
	found := make([]location, 0, len(paths))
	for _, path := range paths {
		l, err := a.resolvePath(path)
		if err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	return found, nil
}

func (a *Archive) resolveStdin() ([]location, error) {
	if a.options.Stdin == nil {
		return nil, fmt.Errorf("%w: -: there is no standard input", ErrLocation)
	}
	if a.filter.active() {
		return nil, noDay("standard input")
	}
	object := Object{Key: "-", Size: -1, store: stdin{a.options.Stdin}, name: "-"}
	return []location{{given: "-", named: &object, place: place{level: outside}}}, nil
}

// resolvePath returns the location of a path that exists.
func (a *Archive) resolvePath(path string) (location, error) {
	path = filepath.Clean(path)
	files := local{}
	e := files.entry(path)
	l := location{given: path, tree: files}
	if e.folder {
		l.folder, l.place = path, placeOf(files.path(path))
		return l, nil
	}
	l.named, l.place = &e.object, placeOf(files.path(filepath.Dir(path)))
	return l, a.name(&l)
}

// name sets the place of an object that was named.
func (a *Archive) name(l *location) error {
	if l.place.level != inDay {
		l.place = place{level: outside}
		if a.filter.active() {
			return noDay(l.named.Key)
		}
	}
	l.named.Source, l.named.Day = l.place.source, l.place.day
	return nil
}

func noDay(what string) error {
	return fmt.Errorf("%s has no received day and no source to compare: %w: leave the day and source filters out, "+
		"or name a folder of the layout", what, ErrNoDay)
}

func (a *Archive) resolveBucket(ctx context.Context, scheme, rest string) ([]location, error) {
	rest, query, _ := strings.Cut(rest, "?")
	name, key, _ := strings.Cut(rest, "/")
	if name == "" {
		return nil, fmt.Errorf("%w: %s://: the bucket's name is missing", ErrLocation, scheme)
	}
	b, err := a.bucket(ctx, scheme, name, query)
	if err != nil {
		return nil, err
	}
	l := location{given: b.url + "/" + key, tree: b}
	if key != "" && !strings.HasSuffix(key, "/") {
		object, found, err := b.find(ctx, key)
		if err != nil {
			return nil, err
		}
		if found {
			l.named, l.place = &object, placeOf(key[:strings.LastIndexByte(key, '/')+1])
			return []location{l}, a.name(&l)
		}
		key += "/"
	}
	l.folder, l.place = key, placeOf(key)
	found, err := b.any(ctx, key)
	if err == nil && !found {
		err = fmt.Errorf("list %s: %w: check the bucket's name, the prefix, which is a folder or a whole key and no "+
			"glob, and the region or endpoint", l.given, ErrNothing)
	}
	return []location{l}, err
}

// bucket opens a bucket, or returns the one that is open already.
func (a *Archive) bucket(ctx context.Context, scheme, name, query string) (*bucket, error) {
	url := scheme + "://" + name
	if b, open := a.buckets[url]; open {
		// The same key would stand for two objects.
		if b.query != query {
			return nil, fmt.Errorf("%w: %s is given twice, with different settings behind the question mark: give "+
				"the same, or read one at a time", ErrLocation, url)
		}
		return b, nil
	}
	b, err := openBucket(ctx, scheme, name, query)
	if err == nil {
		a.buckets[url] = b
	}
	return b, err
}

// stdin is standard input as a store of one object.
type stdin struct{ from io.Reader }

func (s stdin) open(ctx context.Context, _ Object) (io.ReadCloser, error) {
	return newDetached(ctx, s.from), nil
}

func (stdin) identity(string) string { return "-" }
