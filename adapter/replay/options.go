package replay

import (
	"cmp"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
)

// Options are the choices of a replay, beside its Spec.
type Options struct {
	Mapper Mapper
	// Where is the compiled Filter.Where, nil without one.
	Where Condition
	// Now is the clock. Default: the clock of an [adapter.Clock].
	Now func() time.Time
	// Rate limits how many events are queued in a second, 0 for no limit. Default: 0.
	Rate float64
	// Window limits how many events are due or in flight at once. Default: 512.
	Window int
	// Chosen are the identify calls to send, nil for all that the filter selects.
	Chosen *Chosen
	// Ledger finds events that were delivered, and profiles newer than those of Chosen. Default: none.
	Ledger *Ledger
	// Memory limits the identify calls in memory while some are chosen, in bytes. Default: 32 MiB.
	Memory int
	// Dir has the temporary files: identify calls beyond Memory, and files of import jobs until their
	// upload. Default: the system's directory for temporary files.
	Dir string
	// Failed is called with the text of each event that a dry run rejects, in order. Default: none.
	Failed func(text []byte) error
	// Users records the userIds of the events that were read. Default: none.
	Users *UserMatches
	// Progress is updated while the replay runs. Default: none.
	Progress *Progress
	// OnPanic is called for each panic in the mapping. Default: none.
	OnPanic delivery.PanicFunc
}

// WithDefaults returns the options with a value in every field that has a default.
func (o Options) WithDefaults() Options {
	o.Window, o.Memory, o.Progress = cmp.Or(o.Window, 512), cmp.Or(o.Memory, 32<<20), cmp.Or(o.Progress, &Progress{})
	if o.Now == nil {
		o.Now = adapter.NewClock(adapter.ClockOptions{}).Now
	}
	if o.OnPanic == nil {
		o.OnPanic = func(any, []byte) {}
	}
	return o
}

func (o *Options) newPipeline(spec *Spec, blocks Blocks) *pipeline {
	selects := spec.Filter.Selector(o.Where)
	if spec.Identify == IdentifyNone {
		selects = withoutIdentify(selects)
	}
	p := &pipeline{
		blocks: blocks, mapper: o.Mapper, selects: o.Users.marking(selects), panicked: o.OnPanic,
		chosen: o.Chosen, denials: len(spec.Filter.Consent) == 0,
	}
	if !spec.AnyAge {
		p.now = o.Now()
	}
	return p
}
