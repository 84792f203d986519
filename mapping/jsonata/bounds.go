package jsonata

import "time"

// The bounds protect against mistakes, since the expressions are the operator's own. An evaluation that exceeds one
// returns the error named there and no result.
const (
	// MaxSource bounds the source of an expression in bytes.
	MaxSource = 64 << 10

	// MaxSteps bounds the visits of nodes of the expression in one evaluation: ErrTooLong. A usual expression has ten
	// to a hundred, and a hundred thousand take about a second.
	MaxSteps = 100_000

	// Timeout bounds the time of one evaluation or compilation, where steps do not: ErrTimeout. A usual expression
	// takes less than a thousandth of it, so that it succeeds on a busy machine. If more evaluations run than there
	// are processors, the timeout grows in proportion. The evaluation itself ends then, at most MatchTimeout later.
	Timeout = 2 * time.Second

	// MatchTimeout bounds one match of a regular expression by backtracking. A longer match never succeeds:
	// ErrTimeout, at the end of Timeout. Expressions with back references or look-around backtrack. So do all others
	// for the second and later matches in a text. No interrupt stops a match, so an evaluation may end this late.
	MatchTimeout = 250 * time.Millisecond

	// MaxDepth bounds the nesting of evaluation and of results: ErrTooDeep. A recursive call takes about three
	// levels, a recursive tail call none.
	MaxDepth = 3000

	// MaxArray bounds the elements of an array that one operation makes, such as the range operator or $append:
	// ErrTooLarge. Only Timeout bounds arrays that grow one by one. With them an evaluation took up to 250 MB.
	MaxArray = 100_000

	// MaxText bounds the text that &, $join, $pad and $string make in one evaluation together, in UTF-16 code units:
	// ErrTooLarge.
	MaxText = 8 << 20

	// MaxResult bounds the result, in bytes of JSON: ErrTooLarge.
	MaxResult = 1 << 20
)

const (
	// maxFrames bounds JavaScript's stack. One level of MaxDepth takes up to eight frames, so this bound stops the
	// parser on a deeply nested expression.
	maxFrames = 10 * MaxDepth

	// maxMatch bounds one match of a regular expression without backtracking: the UTF-16 code units of the text times
	// the instructions of the compiled expression. One takes up to 10 ns, as measured in 2026, so the bound is half a
	// second: ErrTooLong.
	maxMatch = 50_000_000

	// maxIdle bounds the idle evaluators, 0.8 MB each.
	maxIdle = 32

	// maxCompiled bounds each cache of compiled expressions in one evaluator.
	maxCompiled = 128
)
