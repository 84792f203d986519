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
	// so that a busy machine does not fail a good one. Where more evaluations run at once
	// than there are processors, it is longer in that proportion. The evaluation itself
	// ends then, after MatchTimeout at the latest.
	Timeout = 2 * time.Second

	// MatchTimeout bounds one match of a regular expression by backtracking. A match that
	// takes longer never succeeds: ErrTimeout, when the time of the evaluation is over. The
	// expressions with back references or look-around backtrack, and all others for the
	// matches behind the first of a text. Nothing interrupts a match that is under way, so this is how late an evaluation may end.
	MatchTimeout = 250 * time.Millisecond

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

	// maxMatch bounds one match of a regular expression without backtracking: the UTF-16
	// code units of the text, times the instructions of the compiled expression. One takes
	// up to 10 ns, as measured in 2026, so that this is half a second: ErrTooLong.
	maxMatch = 50_000_000

	// maxIdle is how many evaluators are kept for the next evaluations, 0.8 MB each.
	maxIdle = 32

	// maxCompiled bounds the expressions that one evaluator holds ready.
	maxCompiled = 128
)
