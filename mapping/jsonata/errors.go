package jsonata

import (
	"cmp"
	"errors"
	"fmt"
)

// ErrEnded means that the caller ended an evaluation before it had a result. It says nothing about the expression or
// its input.
var ErrEnded = errors.New("the evaluation was ended")

// Errors of an evaluation that exceeds its bounds. All but ErrTimeout depend on the expression and its input alone.
// ErrTimeout may come from an overloaded machine, and another attempt may succeed.
var (
	ErrTimeout  = errors.New("expression takes too much time")
	ErrTooLong  = errors.New("expression takes too many steps")
	ErrTooLarge = errors.New("expression makes too much data")
	ErrTooDeep  = errors.New("expression nests too deep")
)

// CompileError is a fault in an expression and its position.
type CompileError struct {
	Source   string
	Position int    // in UTF-16 code units, just behind the wrong word; 0 if unknown
	Code     string // JSONata's, such as S0201; empty if it has none
	Message  string
}

func (e *CompileError) Error() string {
	return fmt.Sprintf("compile expression: character %d: %s%s", e.Position, e.Message, inBrackets(e.Code))
}

// EvalError says why an expression has no result for an input.
type EvalError struct {
	Code    string // JSONata's, such as T2001; empty if it has none
	Message string // may quote values of the input

	detail   string // empty if it equals Message
	position int    // as in a CompileError; 0 if unknown
}

// Detail returns the Message without values of the input, for a log. It leaves out a message of $error or $assert
// that is no literal in the expression.
func (e *EvalError) Detail() string { return cmp.Or(e.detail, e.Message) }

func (e *EvalError) Error() string {
	return "evaluate expression: " + e.Message + inBrackets(e.Code)
}

func inBrackets(code string) string {
	if code == "" {
		return ""
	}
	return " (" + code + ")"
}
