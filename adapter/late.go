package adapter

// LateError means that a store did not answer in time: the events may be stored or not.
// The sender has to send the request again. Events that were stored are duplicates then,
// but those without a messageId count twice.
type LateError struct {
	// Done is closed once the store has answered. Until then it uses the payloads.
	Done <-chan struct{}
}

func (e *LateError) Error() string { return e.Unavailable() }

// Unavailable returns what the sender may be told.
func (e *LateError) Unavailable() string { return "the store does not answer in time" }
