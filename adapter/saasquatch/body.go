package saasquatch

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// maxAnswer bounds how much of an answer is read, in bytes.
const maxAnswer = 256 << 10

// form is the kind of an answer's body, as far as the meaning of the answer depends on it.
type form uint8

const (
	// formEmpty: there is no body, or only white space arrived.
	formEmpty form = iota + 1
	// formObject: a JSON object.
	formObject
	// formBroken: the beginning of a JSON object. The connection broke, or the body is longer than maxAnswer.
	formBroken
	// formOther: a page of HTML, another JSON value, or anything else.
	formOther
)

// answerBody is the part of an answer's body that counts.
type answerBody struct {
	form form
	// failure is SaaSquatch's error object, if failure.stated.
	failure apiError
	// start is the beginning of a body that may not be SaaSquatch's. It is empty for another body.
	start string
}

// maxStart bounds answerBody.start, in bytes.
const maxStart = 512

// bodyReader reads bodies of answers. It finds SaaSquatch's error in an object without decoding the rest, since most
// bodies only repeat the event.
type bodyReader struct {
	limited io.LimitedReader
	text    bytes.Buffer
	decoder *jsontext.Decoder
	start   [maxStart]byte
}

var bodyReaders = sync.Pool{New: func() any {
	// The options accept a success that repeats odd fields of an event.
	return &bodyReader{decoder: jsontext.NewDecoder(&bytes.Buffer{}, bodyOptions...)}
}}

var bodyOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// maxPooled is the largest buffer that is kept for another body, in bytes.
const maxPooled = 64 << 10

// readBody reads the body of an answer with the status, up to maxAnswer bytes. It never fails: a body that breaks off
// is a kind of body, too.
func readBody(status int, body io.Reader) answerBody {
	r := bodyReaders.Get().(*bodyReader)
	defer r.release()
	form, start, broke := r.open(body, maxAnswer)
	read := answerBody{form: form}
	if form == formObject {
		read.form, read.failure = r.scan(broke == nil)
	}
	read.keepStart(status, start)
	return read
}

// release makes the reader ready for another body.
func (r *bodyReader) release() {
	r.limited.R = nil
	if r.text.Cap() <= maxPooled {
		bodyReaders.Put(r)
	}
}

// open reads a body of at most limit bytes into the buffer, and returns its form by its first character and its
// beginning. An object starts at the start of the buffer. broke says why the body is incomplete, nil if it is not.
func (r *bodyReader) open(body io.Reader, limit int64) (form form, start []byte, broke error) {
	broke = r.fill(body, limit)
	if bytes.HasPrefix(r.text.Bytes(), []byte("\x1f\x8b")) { // gzip, which no request of ours asks for
		broke = cmp.Or(broke, r.unzip(limit))
	}
	text := r.text.Bytes()
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n")
	start = r.start[:copy(r.start[:], trimmed)] // the decoder overwrites what it has read
	switch {
	case len(trimmed) == 0:
		return formEmpty, start, broke
	case trimmed[0] != '{':
		return formOther, start, broke
	default:
		r.text.Next(len(text) - len(trimmed))
		return formObject, start, broke
	}
}

// keepStart keeps the beginning of a body that may not be SaaSquatch's.
func (b *answerBody) keepStart(status int, start []byte) {
	if (b.form == formOther || status > 299) && !b.failure.stated {
		b.start = string(start)
	}
}

// errTooLong means that a body is longer than its limit.
var errTooLong = errors.New("the answer is too long")

// fill reads the body into the buffer. Its error says why the body is incomplete.
func (r *bodyReader) fill(body io.Reader, limit int64) error {
	r.text.Reset()
	r.limited = io.LimitedReader{R: body, N: limit + 1}
	_, err := r.text.ReadFrom(&r.limited)
	if int64(r.text.Len()) > limit {
		r.text.Truncate(int(limit))
		return errTooLong
	}
	return err
}

// unzip unpacks the buffer's content. Its error says why the content is incomplete.
func (r *bodyReader) unzip(limit int64) error {
	unzipped, err := gzip.NewReader(bytes.NewReader(bytes.Clone(r.text.Bytes())))
	if err != nil {
		// It ended within the header, or only looks like gzip.
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			r.text.Reset()
		}
		return err
	}
	return r.fill(unzipped, limit)
}

// scan reads the object at the start of the buffer. Of several members with the same name the last counts.
func (r *bodyReader) scan(whole bool) (form, apiError) {
	var failure apiError
	r.decoder.Reset(&r.text, bodyOptions...)
	_, err := r.decoder.ReadToken() // the brace
	for err == nil && r.decoder.PeekKind() != jsontext.KindEndObject {
		err = r.member(&failure)
	}
	if err == nil {
		if _, err = r.decoder.ReadToken(); err == nil { // the other brace
			_, err = r.decoder.ReadToken()
		}
	}
	failure.stated = failure.failed()
	switch {
	case err == io.EOF:
		return formObject, failure
	case !whole && errors.Is(err, io.ErrUnexpectedEOF):
		return formBroken, failure
	default:
		return formOther, apiError{}
	}
}

// member reads one member of the object.
func (r *bodyReader) member(failure *apiError) error {
	name, err := r.decoder.ReadValue()
	if err != nil {
		return err
	}
	// Only top-level members make the answer an error: a success repeats an event's fields, which may have any name.
	member := errorMemberOf(name)
	value, err := r.decoder.ReadValue() // half of SkipValue's time
	if err == nil {
		failure.set(member, value)
	}
	return err
}

// textOf returns the text of a JSON string, nothing for another value.
func textOf(value jsontext.Value) string {
	if value.Kind() != jsontext.KindString {
		return ""
	}
	// The only error is invalid UTF-8, which becomes U+FFFD.
	text, _ := jsontext.AppendUnquote(nil, value)
	return string(text)
}

// statedStatus returns the status in the member statusCode: an integer from 300 on, also as text. It returns 0 for
// another value, which is not an error's.
func statedStatus(value jsontext.Value) int {
	text := string(value)
	if value.Kind() == jsontext.KindString {
		text = strings.TrimSpace(textOf(value))
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || number < 300 || number > math.MaxInt16 || number != math.Trunc(number) {
		return 0
	}
	return int(number)
}
