package jsonata

import "time"

// The bounds protect against mistakes, for expressions are the operator's own.
// An evaluation that exceeds one fails with the error that is named and yields nothing.
const (
	// MaxSource is the longest expression that Compile takes, in bytes.
	MaxSource = 64 << 10

	// MaxSteps is how many nodes of the expression one evaluation may visit, a node
	// as often as it is visited: ErrTooLong. A usual expression visits ten to a hundred,
	// and a hundred thousand take about a second.
	MaxSteps = 100_000

	// Timeout bounds the time of one evaluation, and of one compilation, where steps
	// do not tell: ErrTimeout. A usual expression takes less than a thousandth of it,
	// so that a busy machine does not fail a good one. A match of a regular expression
	// that is under way is seen to its end, or to matchTimeout, so the bound is twice
	// that in the worst case.
	Timeout = 2 * time.Second

	// MaxDepth is how deep evaluation may nest: ErrTooDeep. A recursive function
	// takes about three levels each time, a recursive tail call none. Results that
	// nest deeper are refused too.
	MaxDepth = 3000

	// MaxArray is the most elements of an array that is made at once, as by the
	// range operator or $append: ErrTooLarge. Arrays that grow one by one are
	// bounded by Timeout only; with them an evaluation took up to 250 MB.
	MaxArray = 100_000

	// MaxText is the most text that one evaluation may make by &, $join, $pad and
	// $string together, in UTF-16 code units: ErrTooLarge.
	MaxText = 8 << 20

	// MaxResult is the size of the largest result, in bytes of JSON: ErrTooLarge.
	MaxResult = 1 << 20
)

const (
	// maxFrames bounds JavaScript's stack. One level of MaxDepth takes up to eight
	// frames, so this is what stops the parser on an expression that nests deep.
	maxFrames = 10 * MaxDepth

	// matchTimeout bounds one match of a regular expression that backtracks. It is
	// longer than Timeout, so that whoever runs into it is interrupted.
	matchTimeout = Timeout + 200*time.Millisecond

	// maxCompiled bounds the expressions that one evaluator holds ready.
	maxCompiled = 128
)
