package mapping

import "bytes"

// Call is one Segment call as a [Selector] sees it. It is valid only while the selector runs, and so are the bytes
// that its methods return.
type Call struct {
	env   *envelope
	event []byte
}

// Raw returns the whole event, one JSON object without a byte order mark.
func (c *Call) Raw() []byte { return c.event }

// Type returns the call's type as the sender wrote it, such as "track"; nil if it has none.
func (c *Call) Type() []byte { return c.env.text(envType) }

// IsIdentify reports whether this is an identify call (M3).
func (c *Call) IsIdentify() bool { return bytes.EqualFold(c.Type(), []byte("identify")) }

// Event returns the name of a track call; nil if it has none.
func (c *Call) Event() []byte { return c.env.text(envEvent) }

// UserID returns the userId; nil if it has none.
func (c *Call) UserID() []byte { return c.env.text(envUserID) }

// MessageID returns the messageId, or the literal text of a number; nil if it has none.
func (c *Call) MessageID() []byte { return c.env.text(envMessageID) }

// Time returns the event's time by rule M9, in milliseconds since the epoch; ok is false if it has none.
func (c *Call) Time() (millis int64, ok bool) { return c.env.triggered() }

// Identity returns the Identity that a [Result] of this call has if its messageId is no idempotency key. A call with
// a key, or without a messageId, has this number too.
func (c *Call) Identity() int64 { return c.env.identity(c.MessageID()) }

// Traits returns the traits of an identify call as one JSON object, unchanged; nil if it has none. They are the
// traits of the call, else those of its context, where RudderStack keeps them (M17).
func (c *Call) Traits() []byte {
	if traits, _ := c.env.traits(); len(traits) > 0 && traits[0] == '{' {
		return traits
	}
	return nil
}

// Selector decides before the mapping which calls are mapped. Kind is 0 for a call to map, else KindSkip or
// KindReject. Reason belongs to such a Kind. Detail explains it to a person and quotes nothing of the event. The
// mapper calls the selector for every call that is valid JSON, whatever its type.
type Selector func(*Call) (kind Kind, reason Reason, detail string)
