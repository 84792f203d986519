package saasquatch

import (
	"bytes"
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
	defer func() {
		r.limited.R = nil
		if r.text.Cap() <= maxPooled {
			bodyReaders.Put(r)
		}
	}()
	whole := r.fill(body)
	if bytes.HasPrefix(r.text.Bytes(), []byte("\x1f\x8b")) { // gzip, which no request of ours asks for
		whole = r.unzip() && whole
	}
	text := r.text.Bytes()
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n")
	start := r.start[:copy(r.start[:], trimmed)] // the decoder overwrites what it has read
	var read answerBody
	switch {
	case len(trimmed) == 0:
		read.form = formEmpty
	case trimmed[0] != '{':
		read.form = formOther
	default:
		r.text.Next(len(text) - len(trimmed))
		read.form, read.failure = r.scan(whole)
	}
	if (read.form == formOther || status > 299) && !read.failure.stated {
		read.start = string(start)
	}
	return read
}

// fill reads the body into the buffer and reports whether it is complete.
func (r *bodyReader) fill(body io.Reader) (whole bool) {
	r.text.Reset()
	r.limited = io.LimitedReader{R: body, N: maxAnswer + 1}
	_, err := r.text.ReadFrom(&r.limited)
	if r.text.Len() > maxAnswer {
		r.text.Truncate(maxAnswer)
		return false
	}
	return err == nil
}

// unzip unpacks the buffer's content and reports whether it is complete.
func (r *bodyReader) unzip() (whole bool) {
	unzipped, err := gzip.NewReader(bytes.NewReader(bytes.Clone(r.text.Bytes())))
	if err != nil {
		// It ended within the header, or only looks like gzip.
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			r.text.Reset()
		}
		return false
	}
	return r.fill(unzipped)
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
	var text *string
	switch string(name) {
	case `"statusCode"`:
		value, err := r.decoder.ReadValue()
		if err == nil {
			failure.StatusCode = statedStatus(value)
		}
		return err
	case `"apiErrorCode"`:
		text = &failure.APIErrorCode
	case `"rsCode"`:
		text = &failure.RSCode
	case `"message"`:
		text = &failure.Message
	default:
		_, err := r.decoder.ReadValue() // half of SkipValue's time
		return err
	}
	value, err := r.decoder.ReadValue()
	if err == nil {
		*text = textOf(value)
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
