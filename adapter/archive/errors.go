package archive

import (
	"errors"
	"fmt"
)

var (
	// ErrNothing is wrapped by the error for a location without a log.
	ErrNothing = errors.New("no log is there")
	// ErrLocation is wrapped by the error for a location that is invalid.
	ErrLocation = errors.New("not a location")
	// ErrNoDay is wrapped by the error for a location whose logs have no received day or source to
	// compare, such as a file or standard input.
	ErrNoDay = errors.New("it is not in Segment's layout")
	// ErrNoSource is wrapped by the error for a source that is in no location.
	ErrNoSource = errors.New("no such source")

	// ErrTruncated means that an object's gzip or zstd ends too early, or that its array or last value
	// is not closed.
	ErrTruncated = errors.New("the data ends too early")
	// ErrCorrupt means that an object's gzip or zstd is damaged. Lines of the damaged member or frame
	// that came before may be wrong.
	ErrCorrupt = errors.New("the data is damaged")
	// ErrChanged means that an object is no longer the one that was listed.
	ErrChanged = errors.New("the object has changed since it was listed")
)

// ObjectError is the reason why an object could not be read to its end.
type ObjectError struct {
	Object Object
	// Line is the number of the last complete line or entry that was read, 0 for none.
	Line int64
	// OfEntries means that the object has entries instead of lines.
	OfEntries bool
	// Err is ErrTruncated, ErrCorrupt, ErrChanged, a [FormatError], or a wrapped error of the file
	// system, the network or the bucket.
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
