package archive

import "time"

// Object is one file, one object of a bucket, or standard input.
type Object struct {
	// Key names the object: scheme://bucket/key without the parameters of the location, the path of a
	// file, or - for standard input. A path begins with the location as given, cleaned: ./logs/ and
	// logs give the same keys, an absolute path gives others. A Key is a location that names this
	// object.
	Key string
	// Version changes when the content does. It is the ETag and size of an object in a bucket, on
	// Google's cloud the generation and size, and the size and time of modification of a file. It is
	// empty for standard input and for other files that are not regular.
	Version string
	// Size is the number of stored bytes, -1 if not known.
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
