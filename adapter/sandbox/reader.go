package sandbox

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// reader reads JSON in one pass. Whatever is wrong becomes a 400 that says where.
//
// It is strict by RFC 8259: UTF-8 only, no text behind the value, and no name
// twice in an object. That SaaSquatch refuses the latter is assumed; what it
// would take instead is unpublished.
type reader struct {
	decoder *jsontext.Decoder
	input   bytes.Buffer
	source  []byte
	what    string // what the source is, for messages
	where   string // JSON pointer to source, for messages
	text    []byte // the string that was read last
}

func (r *reader) reset(source []byte, where string) {
	r.source, r.what, r.where = source, "body", where
	r.rewind()
}

// rewind lets the source be read again.
func (r *reader) rewind() {
	r.input = *bytes.NewBuffer(r.source)
	if r.decoder == nil {
		r.decoder = jsontext.NewDecoder(&r.input)
		return
	}
	r.decoder.Reset(&r.input)
}

// resetLine is reset for a line of a file.
func (r *reader) resetLine(line []byte) {
	r.reset(line, "")
	r.what = "line"
}

// release drops what points to the source.
func (r *reader) release() {
	r.reset(nil, "")
	if cap(r.text) > maxScratch {
		r.text = nil
	}
}

// begin enters an object or array, given by its first character.
func (r *reader) begin(kind jsontext.Kind, want string) *apiError {
	if r.decoder.PeekKind() != kind {
		return r.wrong(want)
	}
	_, err := r.decoder.ReadToken()
	return r.syntaxFault(err)
}

// more reports whether the object or array has another member or element. At
// its end, given by its last character, more leaves it.
func (r *reader) more(end jsontext.Kind) (bool, *apiError) {
	if r.decoder.PeekKind() != end {
		return true, nil
	}
	_, err := r.decoder.ReadToken()
	return false, r.syntaxFault(err)
}

// name reads a member's name. It is valid until the next string is read.
func (r *reader) name() ([]byte, *apiError) { return r.unquote() }

// string reads a string. It is valid until the next one is read.
func (r *reader) string() ([]byte, *apiError) {
	if r.decoder.PeekKind() != jsontext.KindString {
		return nil, r.wrong("a string")
	}
	return r.unquote()
}

func (r *reader) unquote() ([]byte, *apiError) {
	value, err := r.decoder.ReadValue()
	if err != nil {
		return nil, r.syntaxFault(err)
	}
	// The string is valid: the decoder has read it.
	r.text, _ = jsontext.AppendUnquote(r.text[:0], value)
	return r.text, nil
}

// skip reads whatever comes.
func (r *reader) skip() *apiError { return r.syntaxFault(r.decoder.SkipValue()) }

// since returns the source from an input offset, behind a member's name, to the
// end of what was read last.
func (r *reader) since(start int64) []byte {
	end := r.decoder.InputOffset()
	return bytes.TrimLeft(r.source[start:end:end], ": \t\r\n")
}

// integer reads a number without a fraction, which may be written as 1.0 or 1e3
// as in JSON Schema.
func (r *reader) integer(want string) (int64, *apiError) {
	if r.decoder.PeekKind() != jsontext.KindNumber {
		return 0, r.wrong(want)
	}
	value, err := r.decoder.ReadValue()
	if err != nil {
		return 0, r.syntaxFault(err)
	}
	n, ok := parseInteger(value)
	if !ok {
		return 0, r.fault("must be %s", want)
	}
	return n, nil
}

// end checks that the source ends here.
func (r *reader) end() *apiError {
	switch _, err := r.decoder.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return r.syntaxFault(err)
	default:
		return badRequest("The %s must be one JSON value.", r.what)
	}
}

// wrong is the fault of a value of the wrong type, if it is a value at all.
func (r *reader) wrong(want string) *apiError {
	if err := r.decoder.SkipValue(); err != nil {
		return r.syntaxFault(err)
	}
	return r.fault("must be %s", want)
}

// fault is a 400 about the value that was read last.
func (r *reader) fault(format string, args ...any) *apiError {
	return badRequest("%s "+format, append([]any{r.point(r.decoder.StackPointer())}, args...)...)
}

// at puts a place in the source into words.
func (r *reader) at(place []string) string {
	var pointer jsontext.Pointer
	for _, token := range place {
		pointer = pointer.AppendToken(token)
	}
	return r.point(pointer)
}

// point returns a JSON pointer (RFC 6901) into the source as it stands in messages.
func (r *reader) point(pointer jsontext.Pointer) string {
	if r.where == "" && pointer == "" {
		return "The " + r.what
	}
	return r.where + string(pointer)
}

func (r *reader) syntaxFault(err error) *apiError {
	if err == nil {
		return nil
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return badRequest("The %s has a name twice in one object: %s.", r.what, strings.TrimPrefix(err.Error(), "jsontext: "))
	}
	return badRequest("The %s is not valid JSON: %s.", r.what, strings.TrimPrefix(err.Error(), "jsontext: "))
}

// maxExact is the largest integer up to which every integer is a float64.
const maxExact = 1 << 53

// parseInteger reads a valid JSON number without a fraction. Beyond the range of
// exact integers it knows digits only.
func parseInteger(number []byte) (int64, bool) {
	if n, err := strconv.ParseInt(string(number), 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > maxExact {
		return 0, false
	}
	return int64(f), true
}
