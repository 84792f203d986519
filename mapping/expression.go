package mapping

import (
	"errors"
	"fmt"
	"time"

	"segment-saasquatch/mapping/jsonata"
)

// expression is a JSONata expression of the configuration.
type expression struct {
	// key is its configuration key, such as "users.segments".
	key      string
	compiled *jsonata.Expression
}

// compileExpression compiles the source, and returns nil for none. The error is a
// *RuleError.
func compileExpression(key, source string) (*expression, error) {
	if source == "" {
		return nil, nil
	}
	compiled, err := jsonata.Compile(source)
	if err == nil {
		if name := compiled.UndefinedFunction(); name != "" {
			problem := "calls $" + name + ", which is no function: use one of JSONata's, or define it in the expression"
			return nil, &RuleError{Key: key, Problem: problem}
		}
		return &expression{key: key, compiled: compiled}, nil
	}
	fault := &RuleError{Key: key, Problem: "is no JSONata expression: " + err.Error()}
	if wrong, ok := errors.AsType[*jsonata.CompileError](err); ok {
		fault.Problem = "is no JSONata expression: " + wrong.Message
		if wrong.Position > 0 {
			fault.Problem = fmt.Sprintf("is wrong near character %d: %s", wrong.Position, wrong.Message)
		}
	}
	return nil, fault
}

// evaluation is how the expressions of one mapping are evaluated.
type evaluation struct {
	// off leaves them out.
	rulesOnly bool
	// done ends an evaluation when it is closed.
	done <-chan struct{}
	// places are those of the Mapper.
	slots chan struct{}
}

// unfinished is the result of a mapping that was ended.
func unfinished() *Result { return &Result{Kind: KindUnfinished} }

// eval returns the JSON that the expression yields over the input, nil if that is
// nothing or null. What goes wrong is a reject.
func (x *expression) eval(input []byte, now time.Time, opts evaluation) (output []byte, refused *Result) {
	select {
	case opts.slots <- struct{}{}:
		defer func() { <-opts.slots }()
	case <-opts.done:
		return nil, unfinished()
	}
	output, defined, err := x.compiled.Eval(input, now, opts.done)
	if errors.Is(err, jsonata.ErrEnded) {
		return nil, unfinished()
	}
	if err != nil {
		text := err.Error()
		if failed, ok := errors.AsType[*jsonata.EvalError](err); ok {
			text = failed.Detail()
		}
		return nil, x.failed(text)
	}
	if !defined || string(output) == "null" {
		return nil, nil
	}
	return output, nil
}

// maxFault bounds what is told of an expression that fails, in bytes: it may be a
// text that the expression itself makes of the event.
const maxFault = 200

// failed is the reject of an event over which the expression fails.
func (x *expression) failed(fault string) *Result {
	text, _ := truncate(toValidUTF8([]byte(fault)), maxFault, maxFault)
	return rejected(RejectExpressionFailed, x.key+": "+string(text))
}

// message returns the event as expressions see it: as it stands, in UTF-8.
func (env *envelope) message() []byte {
	if env.validUTF8 {
		return env.event
	}
	return toValidUTF8(env.event)
}

// expressionTime returns what expressions take for the present time: now, or at
// the zero time, which is that of events of the past, the event's own, so that it
// does not change from one mapping to the next; 1970 if the event has none.
func expressionTime(env *envelope, now time.Time) time.Time {
	if !now.IsZero() {
		return now
	}
	millis, _ := env.triggered()
	return time.UnixMilli(millis)
}
