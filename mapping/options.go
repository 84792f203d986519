package mapping

// Options are the choices of one mapping. The zero value is that of [Mapper.Map].
type Options struct {
	// Selects picks the events to map; the others are skipped for its reasons. Default:
	// all are mapped.
	Selects Selector
	// RulesOnly maps by the rules alone and evaluates no expression. What it skips and
	// rejects, the whole mapping skips and rejects too. The other events may still be
	// changed, skipped or rejected by an expression, so their bodies are not for sending.
	// MessageID, Identity, the ids of the user and the kind of call are final. Default: false.
	RulesOnly bool
	// Done ends the evaluation of an expression when it is closed, as does the wait for
	// it; the result is then KindUnfinished. Default: nothing does.
	Done <-chan struct{}
}
