package jsonata

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"
)

// goja matches a regular expression by package regexp, in time proportional to the text, or by regexp2, which
// backtracks. It uses regexp2 if package regexp does not know the syntax, and for every match that does not begin at
// the start of a text. It takes a match that ran out of time for no match. Therefore this file calls regexp2 itself;
// see RegexEngine in bounds.js.

// clockPeriod is how late regexp2 may notice the end of MatchTimeout.
const clockPeriod = 20 * time.Millisecond

func init() {
	regexp2.DefaultMatchTimeout = MatchTimeout
	regexp2.SetTimeoutCheckPeriod(clockPeriod)
}

// regexes are an evaluator's caches for regular expressions.
type regexes struct {
	costs        cache[int]             // by source
	backtracking cache[*regexp2.Regexp] // by source and flags
	// text is the last text that regexp2 matched, and units are its code units.
	text  goja.Value
	units []rune
}

// matchCost returns the number of instructions of a regular expression; 0 if it needs backtracking.
func (e *evaluator) matchCost(source string) int {
	cost, known := e.regexes.costs[source]
	if !known {
		cost = matchCost(source)
		e.regexes.costs.put(source, cost)
	}
	return cost
}

func matchCost(source string) int {
	linear, err := parser.TransformRegExp(inUTF16(source), false, false)
	if err != nil {
		return 0
	}
	tree, err := syntax.Parse(linear, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}

// backtrack matches a text by regexp2, starting at the code unit with the index from. It returns the start and end of
// the match and of its groups, -1 for a group without a part in it. It returns null for no match, or once the
// evaluation must end.
func (e *evaluator) backtrack(source string, ignoreCase, multiline bool, text goja.Value, from int) any {
	regex, err := e.regexp2(source, ignoreCase, multiline)
	if err != nil {
		panic(e.vm.NewTypeError(err.Error()))
	}
	units := e.unitsOf(text)
	if from > len(units) {
		return nil
	}
	match, err := regex.FindRunesMatchStartingAt(units, from)
	// The end of MatchTimeout is regexp2's only error. It may come early if the process was suspended, so only the
	// end of the evaluation counts.
	for err != nil && e.guard.reason() == nil {
		match, err = regex.FindRunesMatchStartingAt(units, from)
	}
	if err != nil || match == nil {
		return nil
	}
	var spans []int
	for _, group := range match.Groups() {
		if len(group.Captures) == 0 {
			spans = append(spans, -1, -1)
			continue
		}
		spans = append(spans, group.RuneIndex, group.RuneIndex+group.RuneLength)
	}
	return spans
}

// regexp2 returns the compiled expression.
func (e *evaluator) regexp2(source string, ignoreCase, multiline bool) (*regexp2.Regexp, error) {
	key := fmt.Sprint(ignoreCase, multiline, source)
	if regex := e.regexes.backtracking[key]; regex != nil {
		return regex, nil
	}
	options := regexp2.ECMAScript
	if ignoreCase {
		options |= regexp2.IgnoreCase
	}
	if multiline {
		options |= regexp2.Multiline
	}
	regex, err := regexp2.Compile(inUTF16(source), options)
	if err != nil {
		return nil, fmt.Errorf("compile regular expression: %w", err)
	}
	e.regexes.backtracking.put(key, regex)
	return regex, nil
}

// unitsOf returns the code units of a text. It keeps those of the last one, since the next match often has the same
// text.
func (e *evaluator) unitsOf(text goja.Value) []rune {
	if e.regexes.text != nil && e.regexes.text.SameAs(text) {
		return e.regexes.units
	}
	whole := text.ToString().(goja.String)
	units := make([]rune, whole.Length())
	for i := range units {
		units[i] = rune(whole.CharAt(i))
	}
	e.regexes.text, e.regexes.units = text, units
	return units
}

// inUTF16 writes characters of two code units as their escapes, since regexp2 matches code units.
func inUTF16(source string) string {
	var escaped strings.Builder
	for _, r := range source {
		if r < 0x10000 {
			escaped.WriteRune(r)
			continue
		}
		r -= 0x10000
		fmt.Fprintf(&escaped, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	}
	return escaped.String()
}
