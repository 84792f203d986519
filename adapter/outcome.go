package adapter

import "fmt"

// Outcome is what became of one event. The zero value is no outcome.
type Outcome uint8

const (
	// Delivered means that SaaSquatch answered 2xx, without a body or with an object that is no
	// error.
	Delivered Outcome = iota + 1
	// Duplicate means that SaaSquatch holds the event already. It counts as delivered.
	Duplicate
	// Skipped means that the call is valid but has nothing to send.
	Skipped
	// Rejected means that the mapping refuses the event: it can never be sent.
	Rejected
	// Dead means that SaaSquatch refuses the event for good.
	Dead
	// Pending means that the event is not settled: another attempt follows.
	Pending
)

// Outcomes lists every outcome in the order in which they are reported.
var Outcomes = [...]Outcome{Delivered, Duplicate, Skipped, Rejected, Dead, Pending}

var outcomeNames = [...]string{
	Delivered: "delivered",
	Duplicate: "duplicate",
	Skipped:   "skipped",
	Rejected:  "rejected",
	Dead:      "dead",
	Pending:   "pending",
}

// String returns the public name of the outcome, such as "delivered".
func (o Outcome) String() string {
	if o == 0 || int(o) >= len(outcomeNames) {
		return fmt.Sprintf("Outcome(%d)", uint8(o))
	}
	return outcomeNames[o]
}

// MarshalText writes the public name.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a public name.
func (o *Outcome) UnmarshalText(text []byte) error {
	for _, known := range Outcomes {
		if outcomeNames[known] == string(text) {
			*o = known
			return nil
		}
	}
	return fmt.Errorf("unknown outcome %q: want one of %v", text, Outcomes)
}

// Settled reports whether the outcome is final.
func (o Outcome) Settled() bool { return o != 0 && o != Pending }
