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

// reader reads JSON in one pass. Each error is a 400 that names the place.
//
// It is strict by RFC 8259: UTF-8 only, no text behind the value, and no name twice in an object.
// Assumed: SaaSquatch refuses a name that stands twice.
type reader struct {
	decoder *jsontext.Decoder
	input   bytes.Buffer
	source  []byte
	what    string // kind of the source, for messages
	where   string // JSON pointer to the source, for messages
	text    []byte // string that was read last
}

func (r *reader) reset(source []byte, where string) {
	r.source, r.what, r.where = source, "body", where
	r.rewind()
}

// resetLine is reset for a line of a file.
func (r *reader) resetLine(line []byte) {
	r.reset(line, "")
	r.what = "line"
}

// rewind goes back to the start of the source.
func (r *reader) rewind() {
	r.input = *bytes.NewBuffer(r.source)
	if r.decoder == nil {
		r.decoder = jsontext.NewDecoder(&r.input)
		return
	}
	r.decoder.Reset(&r.input)
}

// release drops all pointers to the source.
func (r *reader) release() {
	r.reset(nil, "")
	if cap(r.text) > maxScratch {
		r.text = nil
	}
}

// members reads an object. The function reads the value of each member; the name is valid until it reads a string.
func (r *reader) members(want string, read func(name []byte) *apiError) *apiError {
	return r.each(jsontext.KindBeginObject, want, func() *apiError {
		name, apiErr := r.unquote()
		if apiErr != nil {
			return apiErr
		}
		return read(name)
	})
}

// each reads an object or array, given by its first character. The function reads each member or element.
func (r *reader) each(begin jsontext.Kind, want string, read func() *apiError) *apiError {
	if r.decoder.PeekKind() != begin {
		return r.typeError(want)
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return r.syntaxError(err)
	}
	end := jsontext.KindEndObject
	if begin == jsontext.KindBeginArray {
		end = jsontext.KindEndArray
	}
	for r.decoder.PeekKind() != end {
		if apiErr := read(); apiErr != nil {
			return apiErr
		}
	}
	_, err := r.decoder.ReadToken()
	return r.syntaxError(err)
}

// string reads a string, which is valid until the next one is read.
func (r *reader) string() ([]byte, *apiError) {
	if r.decoder.PeekKind() != jsontext.KindString {
		return nil, r.typeError("a string")
	}
	return r.unquote()
}

func (r *reader) unquote() ([]byte, *apiError) {
	value, err := r.decoder.ReadValue()
	if err != nil {
		return nil, r.syntaxError(err)
	}
	// The string is valid: the decoder has read it.
	r.text, _ = jsontext.AppendUnquote(r.text[:0], value)
	return r.text, nil
}

// skip reads any value.
func (r *reader) skip() *apiError { return r.syntaxError(r.decoder.SkipValue()) }

// raw reads any value. It returns the value's part of the source.
func (r *reader) raw() ([]byte, *apiError) {
	// ReadValue is faster than SkipValue, which reads token by token.
	value, err := r.decoder.ReadValue()
	if err != nil {
		return nil, r.syntaxError(err)
	}
	end := r.decoder.InputOffset()
	return r.source[end-int64(len(value)) : end : end], nil
}

// integer reads a number without a fraction. As in JSON Schema, 1.0 and 1e3 are such numbers.
func (r *reader) integer(want string) (int64, *apiError) {
	if r.decoder.PeekKind() != jsontext.KindNumber {
		return 0, r.typeError(want)
	}
	value, err := r.decoder.ReadValue()
	if err != nil {
		return 0, r.syntaxError(err)
	}
	n, ok := parseInteger(value)
	if !ok {
		return 0, r.errorf("must be %s", want)
	}
	return n, nil
}

// end checks that the source ends here.
func (r *reader) end() *apiError {
	switch _, err := r.decoder.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return r.syntaxError(err)
	default:
		return badRequest("The %s must be one JSON value.", r.what)
	}
}

// typeError reads a value of the wrong type.
func (r *reader) typeError(want string) *apiError {
	if err := r.decoder.SkipValue(); err != nil {
		return r.syntaxError(err)
	}
	return r.errorf("must be %s", want)
}

// errorf is a 400 about the value that was read last.
func (r *reader) errorf(format string, args ...any) *apiError {
	return badRequest("%s "+format, append([]any{r.point(r.decoder.StackPointer())}, args...)...)
}

// at names a place in the source.
func (r *reader) at(place []string) string {
	var pointer jsontext.Pointer
	for _, token := range place {
		pointer = pointer.AppendToken(token)
	}
	return r.point(pointer)
}

// point names a place in the source by a JSON pointer (RFC 6901).
func (r *reader) point(pointer jsontext.Pointer) string {
	if r.where == "" && pointer == "" {
		return "The " + r.what
	}
	return r.where + string(pointer)
}

func (r *reader) syntaxError(err error) *apiError {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "jsontext: ")
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return badRequest("The %s has a name twice in one object: %s.", r.what, text)
	}
	return badRequest("The %s is not valid JSON: %s.", r.what, text)
}

// maxExact is the limit up to which a float64 holds every integer.
const maxExact = 1 << 53

// parseInteger reads a valid JSON number without a fraction. Beyond maxExact it reads digits only.
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
