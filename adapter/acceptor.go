package adapter

import "context"

// Acceptor takes the events of one verified request. Direct delivery returns when the outcomes are
// known, durable delivery once the events are on disk. The slices are valid during the call only,
// and after a [LateError] until its Done is closed.
type Acceptor interface {
	// Accept returns a receipt with one result for each event, or an error if it can promise
	// nothing about any of them. The sender learns the text of an error that has a method
	// Unavailable() string, and nothing of any other.
	Accept(ctx context.Context, events [][]byte) (Receipt, error)
}
