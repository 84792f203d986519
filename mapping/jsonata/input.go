package jsonata

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/dop251/goja"
	"github.com/go-json-experiment/json/jsontext"
)

// decoder converts JSON to JavaScript values. It parses an object only when the expression reads a member of it: most
// expressions read a few members of an event.
type decoder struct {
	vm   *goja.Runtime
	json jsontext.Decoder
	err  error // the first fault found during the evaluation
	// guard is that of the current evaluation.
	guard *guard
}

// root converts the whole input. An empty input is undefined.
func (d *decoder) root(raw []byte) (goja.Value, error) {
	d.err = nil
	if len(raw) == 0 {
		return goja.Undefined(), nil
	}
	return d.value(raw, 0)
}

// value converts one JSON text.
func (d *decoder) value(raw []byte, depth int) (goja.Value, error) {
	raw = bytes.Trim(raw, " \t\r\n")
	if len(raw) == 0 {
		return nil, &EvalError{Message: "the input is not JSON"}
	}
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	switch raw[0] {
	case '{':
		return d.vm.NewDynamicObject(&inputObject{decoder: d, raw: raw, depth: depth}), nil
	case '[':
		return d.array(raw, depth)
	case '"':
		text, err := unquote(raw)
		return d.vm.ToValue(text), err
	}
	switch string(raw) {
	case "true":
		return d.vm.ToValue(true), nil
	case "false":
		return d.vm.ToValue(false), nil
	case "null":
		return goja.Null(), nil
	}
	number, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && number == 0 {
		return nil, invalid(err)
	}
	return d.vm.ToValue(number), nil // infinite beyond the range, as in JavaScript
}

func (d *decoder) array(raw []byte, depth int) (goja.Value, error) {
	var spans [][]byte
	d.start(raw)
	for d.json.PeekKind() != ']' {
		span, err := d.span(raw)
		if err != nil {
			return nil, err
		}
		spans = append(spans, span)
	}
	items := make([]any, len(spans))
	for i, span := range spans {
		if err := d.guard.reason(); err != nil {
			return nil, err
		}
		item, err := d.value(span, depth+1)
		if err != nil {
			return nil, err
		}
		items[i] = item
	}
	return d.vm.NewArray(items...), nil
}

// start moves to the first element or name behind raw's opening bracket.
func (d *decoder) start(raw []byte) {
	d.json.Reset(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	_, _ = d.json.ReadToken() // the bracket
}

// span reads one value and returns it as a part of raw.
func (d *decoder) span(raw []byte) ([]byte, error) {
	value, err := d.json.ReadValue()
	if err != nil {
		return nil, invalid(err)
	}
	end := int(d.json.InputOffset())
	return raw[end-len(value) : end], nil
}

// members reads an object's members. The last of several values with one name counts, at the place of the first.
func (d *decoder) members(raw []byte) (members memberList, err error) {
	d.start(raw)
	for d.json.PeekKind() != '}' {
		quoted, err := d.span(raw)
		if err != nil {
			return members, err
		}
		name, err := unquote(quoted)
		if err != nil {
			return members, err
		}
		span, err := d.span(raw)
		if err != nil {
			return members, err
		}
		members.put(name, span)
	}
	return members, nil
}

// unquote replaces bytes that are not UTF-8 by U+FFFD, as package mapping does.
func unquote(quoted []byte) (string, error) {
	text, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil && utf8.Valid(quoted) {
		return "", invalid(err)
	}
	return string(text), nil
}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return &EvalError{Message: "the input is not JSON: " + err.Error(), detail: "the input is not JSON"}
}
