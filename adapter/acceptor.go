package adapter

import "context"

// Acceptor takes the events of one verified request. It is the seam between
// receiving and delivering: direct delivery returns when the outcomes are known,
// a durable store once the events are on disk. The slices are only valid during
// the call, and after a [LateError] until its Done is closed.
type Acceptor interface {
	// Accept returns a receipt with one result for each event, or an error if it
	// can promise nothing about any of them. The sender is told the text of an
	// error that has a method Unavailable() string, and nothing of any other.
	Accept(ctx context.Context, events [][]byte) (Receipt, error)
}
