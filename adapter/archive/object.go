package archive

import "time"

// Object is one file, one object of a bucket, or standard input.
type Object struct {
	// Key names the object: scheme://bucket/key without the location's query, the
	// path of a file, or - for standard input. A path is the location as it was
	// given, cleaned, and what is below it: ./logs/ and logs give the same keys, an
	// absolute path another. It is a location that names this object.
	Key string
	// Version changes when the content does: ETag and size of an object in a bucket,
	// on Google's cloud generation and size, size and time of modification of a file.
	// It is empty for standard input and what else is no regular file.
	Version string
	// Size is what the object takes as it is stored, in bytes, -1 if not known.
	Size int64
	// Source is the source id of an object of Segment's layout, otherwise empty.
	Source string
	// Day is the day on which Segment received the events of an object of its
	// layout, at 00:00 UTC, otherwise zero.
	Day time.Time

	store    store
	name     string    // within the store
	tag      string    // of an object in a bucket, as in [identity]
	modified time.Time // zero if not known
	fault    error     // found while listing; it comes back when the object is opened
}
