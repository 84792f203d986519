package jsonata

import (
	"cmp"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// Expression is a compiled expression. It is safe for concurrent use.
type Expression struct {
	source string
}

// Compile compiles an expression. The error is a *CompileError.
func Compile(source string) (*Expression, error) {
	if len(source) > MaxSource {
		return nil, &CompileError{Source: source, Message: fmt.Sprintf("longer than %d bytes", MaxSource)}
	}
	if !utf8.ValidString(source) {
		return nil, &CompileError{Source: source, Message: "not UTF-8"}
	}
	e := acquire()
	defer release(e)
	err := e.run(nil, func() error {
		_, err := e.expression(source)
		return err
	})
	if err != nil {
		return nil, compileError(source, err)
	}
	return &Expression{source: source}, nil
}

// String returns the source.
func (x *Expression) String() string { return x.source }

// UndefinedFunction returns the name, without its $, of a function that the expression calls and nothing defines;
// else "". JSONata itself reports it only when it evaluates the call. Calls of other values, such as members of the
// input, are not checked.
func (x *Expression) UndefinedFunction() string {
	e := acquire()
	defer release(e)
	var name string
	err := e.run(nil, func() error {
		found, err := e.call(e.undefinedFunction, e.vm.ToValue(x.source))
		if err == nil {
			name = found.String()
		}
		return err
	})
	if err != nil {
		return "" // it exceeds the bounds, as an evaluation may
	}
	return name
}

// Eval evaluates the expression over one JSON value at the time now. An empty input is JSONata's undefined. The
// result is JSON. defined is false if the expression returns nothing, or a function, which has no JSON.
//
// The error is an *EvalError, ErrTimeout, ErrTooLong, ErrTooLarge, ErrTooDeep or ErrEnded. Eval returns ErrEnded once
// done is closed: that ends the evaluation itself within [MatchTimeout], as Timeout does. A nil done never ends it.
// Eval never panics, does not change input and keeps no part of it.
func (x *Expression) Eval(input []byte, now time.Time, done <-chan struct{}) (result []byte, defined bool, err error) {
	err = x.eval(input, now, done, func(value goja.Value, guard *guard) (err error) {
		result, defined, err = appendValue(nil, value, guard)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return result, defined, nil
}

// EvalBool evaluates a condition at the present time. It returns the result of $boolean for the output, and false for
// no output. The errors are those of Eval.
func (x *Expression) EvalBool(input []byte) (holds bool, err error) {
	err = x.eval(input, time.Now(), nil, func(value goja.Value, guard *guard) (err error) {
		holds, err = boolean(value, 0, guard)
		return err
	})
	return holds && err == nil, err
}

// eval calls use with the expression's output, before it releases the evaluator.
func (x *Expression) eval(
	input []byte, now time.Time, done <-chan struct{}, use func(goja.Value, *guard) error,
) error {
	select {
	case <-done:
		return ErrEnded
	default:
	}
	e := acquire()
	defer release(e)
	return e.run(done, func() error {
		evaluate, err := e.expression(x.source)
		if err != nil {
			return &EvalError{Message: err.Error()} // it compiled before, so the machine is overloaded
		}
		e.now = now
		root, err := e.input.root(input)
		if err != nil {
			return err
		}
		value, err := e.call(evaluate, root)
		if err == nil {
			err = use(value, e.guard)
		}
		return cmp.Or(e.input.err, evalError(x.source, err))
	})
}
