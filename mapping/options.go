package mapping

// Options are the options of one mapping. [Mapper.Map] uses the zero value.
type Options struct {
	// Selects decides which events are mapped. The mapper skips or rejects the others for its reasons. Default: all
	// are mapped.
	Selects Selector
	// RulesOnly evaluates no expression. A full mapping skips and rejects at least the same events. It may also
	// change, skip or reject others, so their bodies must not be sent. MessageID, Identity, the user's ids and the
	// kind of call are final. Default: false.
	RulesOnly bool
	// Done ends the evaluation of an expression, and the wait for one, when it is closed. The result is then
	// KindUnfinished. Default: nil, which never ends it.
	Done <-chan struct{}
}
