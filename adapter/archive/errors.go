package archive

import (
	"errors"
	"fmt"
)

var (
	// ErrNothing is wrapped by the error for a location that holds no log.
	ErrNothing = errors.New("no log is there")
	// ErrLocation is wrapped by the error for a location that cannot be understood.
	ErrLocation = errors.New("not a location")
	// ErrNoDay is wrapped by the error for a location, such as a file or standard
	// input, none of whose logs has a received day or source to compare.
	ErrNoDay = errors.New("it is not in Segment's layout")
	// ErrNoSource is wrapped by the error for a source that no location has.
	ErrNoSource = errors.New("no such source")

	// ErrTruncated says that an object's gzip or zstd ends too early, or its array or
	// last value is not closed.
	ErrTruncated = errors.New("the data ends too early")
	// ErrCorrupt says that an object's gzip or zstd is damaged. Lines of the damaged
	// member or frame that came before the damage showed may be wrong.
	ErrCorrupt = errors.New("the data is damaged")
	// ErrChanged says that an object is no longer the one that was listed.
	ErrChanged = errors.New("the object has changed since it was listed")
)

// ObjectError is why an object could not be read to its end.
type ObjectError struct {
	Object Object
	// Line is the number of the last complete line, or entry, that was read, 0 if
	// there is none.
	Line int64
	// OfEntries says that the object has entries instead of lines.
	OfEntries bool
	// Err is ErrTruncated, ErrCorrupt, ErrChanged, a [FormatError], or of the file
	// system, the network or the bucket, wrapped.
	Err error
}

func (e *ObjectError) Error() string {
	switch {
	case e.Line == 0:
		return fmt.Sprintf("read %s: %v", e.Object.Key, e.Err)
	case e.OfEntries:
		return fmt.Sprintf("read %s behind value %d: %v", e.Object.Key, e.Line, e.Err)
	}
	return fmt.Sprintf("read %s behind line %d: %v", e.Object.Key, e.Line, e.Err)
}

func (e *ObjectError) Unwrap() error { return e.Err }
