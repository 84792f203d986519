package mapping

import (
	"errors"
	"fmt"
	"time"

	"segment-saasquatch/mapping/jsonata"
)

// expression is a compiled JSONata expression of the configuration.
type expression struct {
	// key is the configuration key, such as "users.segments".
	key      string
	compiled *jsonata.Expression
}

// compileExpression compiles the source. It returns nil for an empty one. The error is a *RuleError.
func compileExpression(key, source string) (*expression, error) {
	if source == "" {
		return nil, nil
	}
	compiled, err := jsonata.Compile(source)
	if err == nil {
		if name := compiled.UndefinedFunction(); name != "" {
			const remedy = "use one of JSONata's, or define it in the expression"
			return nil, &RuleError{Key: key, Problem: "calls $" + name + ", which is no function: " + remedy}
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

// evaluation holds how one mapping evaluates its expressions.
type evaluation struct {
	// rulesOnly evaluates no expression.
	rulesOnly bool
	// done ends an evaluation when it is closed.
	done <-chan struct{}
	// slots is the Mapper's semaphore.
	slots chan struct{}
}

// unfinished is the result of a mapping that [Options.Done] ended.
func unfinished() *Result { return &Result{Kind: KindUnfinished} }

// eval returns the expression's output over the input as JSON; nil if that is nothing or null. A failure is a reject.
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

// maxFault bounds the description of a failure, in bytes. An expression may build that text from the event.
const maxFault = 200

// failed returns the reject of an event for which the expression fails.
func (x *expression) failed(fault string) *Result {
	text, _ := truncate(toValidUTF8([]byte(fault)), maxFault, maxFault)
	return rejected(RejectExpressionFailed, x.key+": "+string(text))
}

// message returns the event as expressions see it: unchanged, in UTF-8.
func (env *envelope) message() []byte {
	if env.validUTF8 {
		return env.event
	}
	return toValidUTF8(env.event)
}

// expressionTime returns the present time for expressions. At a zero now, the event is one of the past: its own time
// then stays the same from one mapping to the next. Without one, it is 1970.
func expressionTime(env *envelope, now time.Time) time.Time {
	if !now.IsZero() {
		return now
	}
	millis, _ := env.triggered()
	return time.UnixMilli(millis)
}
