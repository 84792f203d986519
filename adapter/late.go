package adapter

// LateError means that a store did not answer in time: the events may be stored or not. The sender
// must send the request again. Stored events are duplicates then, but events without a messageId
// count twice.
type LateError struct {
	// Done is closed once the store has answered. Until then it uses the payloads.
	Done <-chan struct{}
}

func (e *LateError) Error() string { return e.Unavailable() }

// Unavailable returns the text for the sender.
func (e *LateError) Unavailable() string { return "the store does not answer in time" }
