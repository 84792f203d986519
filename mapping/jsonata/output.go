package jsonata

import (
	"math"
	"reflect"
	"strconv"

	"github.com/dop251/goja"
	"github.com/go-json-experiment/json/jsontext"
)

// appendValue appends a value as JSON.stringify would. It does not call that, since the text of values that share
// parts can be exponential. ok is false, and result nil, if the value is undefined or a function.
func appendValue(dst []byte, value goja.Value, guard *guard) (result []byte, ok bool, err error) {
	result, ok, err = appendAt(dst, value, 0, guard)
	if err != nil || !ok {
		return nil, false, err
	}
	return result, true, nil
}

func appendAt(dst []byte, value goja.Value, depth int, guard *guard) (result []byte, ok bool, err error) {
	if err := guard.reason(); err != nil {
		return dst, false, err
	}
	switch {
	case len(dst) > MaxResult:
		return dst, false, ErrTooLarge
	case depth > MaxDepth:
		return dst, false, ErrTooDeep
	case value == nil || goja.IsUndefined(value):
		return dst, false, nil
	case goja.IsNull(value):
		return append(dst, "null"...), true, nil
	}
	if object, is := value.(*goja.Object); is {
		switch {
		case object.ClassName() == "Array":
			dst, err = appendArray(dst, object, depth, guard)
		case isFunction(object):
			return dst, false, nil
		default:
			dst, err = appendObject(dst, object, depth, guard)
		}
		return dst, err == nil, err
	}
	dst, err = appendScalar(dst, value)
	if err == nil && len(dst) > MaxResult {
		err = ErrTooLarge
	}
	return dst, err == nil, err
}

func appendScalar(dst []byte, value goja.Value) ([]byte, error) {
	switch value.ExportType().Kind() {
	case reflect.String:
		return jsontext.AppendQuote(dst, value.String())
	case reflect.Float64:
		if number := value.ToFloat(); math.IsNaN(number) || math.IsInf(number, 0) {
			return append(dst, "null"...), nil
		}
	}
	return append(dst, value.String()...), nil // a number in JavaScript's form, or a boolean
}

func appendArray(dst []byte, array *goja.Object, depth int, guard *guard) (_ []byte, err error) {
	dst = append(dst, '[')
	for i := range length(array) {
		if i > 0 {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, ok, err = appendAt(dst, array.Get(strconv.Itoa(i)), depth+1, guard); err != nil {
			return dst, err
		}
		if !ok {
			dst = append(dst, "null"...)
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, object *goja.Object, depth int, guard *guard) (_ []byte, err error) {
	dst = append(dst, '{')
	for _, name := range object.Keys() {
		start := len(dst)
		if dst[start-1] != '{' {
			dst = append(dst, ',')
		}
		if dst, err = jsontext.AppendQuote(dst, name); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		var ok bool
		if dst, ok, err = appendAt(dst, object.Get(name), depth+1, guard); err != nil {
			return dst, err
		}
		if !ok {
			dst = dst[:start]
		}
	}
	return append(dst, '}'), nil
}

func length(array *goja.Object) int { return int(array.Get("length").ToInteger()) }

// isFunction reports whether object is a function of JavaScript or of JSONata.
func isFunction(object *goja.Object) bool {
	if object.ClassName() == "Function" {
		return true
	}
	for _, mark := range []string{"_jsonata_function", "_jsonata_lambda"} {
		if value := object.Get(mark); value != nil && value.ToBoolean() {
			return true
		}
	}
	return false
}
