package mapping

import "bytes"

// Call is one Segment call as a [Selector] sees it. It is valid while the selector
// runs, and so are the bytes that it returns.
type Call struct {
	env   *envelope
	event []byte
}

// Raw returns the whole event, one JSON object without a byte order mark.
func (c *Call) Raw() []byte { return c.event }

// Type returns the call's type as it stands, such as "track"; nil if it has none.
func (c *Call) Type() []byte { return c.env.text(envType) }

// IsIdentify reports whether it is an identify call (M3).
func (c *Call) IsIdentify() bool { return bytes.EqualFold(c.Type(), []byte("identify")) }

// Event returns the name of a track call; nil if it has none.
func (c *Call) Event() []byte { return c.env.text(envEvent) }

// UserID returns the userId; nil if it has none.
func (c *Call) UserID() []byte { return c.env.text(envUserID) }

// MessageID returns the messageId, or the literal text of a number; nil if it has none.
func (c *Call) MessageID() []byte { return c.env.text(envMessageID) }

// Time returns the event's time in milliseconds since the epoch, as rule M9 finds
// it; ok is false if it has none.
func (c *Call) Time() (millis int64, ok bool) { return c.env.triggered() }

// Identity returns the identity that the call has in a [Result] whose messageId is no
// idempotency key. It is here whatever the messageId is, and without one.
func (c *Call) Identity() int64 { return c.env.identity(c.MessageID()) }

// Traits returns the traits of an identify call, one JSON object as it stands: those
// of the call, else those in its context, where RudderStack keeps them (M17); nil
// without any.
func (c *Call) Traits() []byte {
	if traits, _ := c.env.traits(); len(traits) > 0 && traits[0] == '{' {
		return traits
	}
	return nil
}

// Selector picks calls before they are mapped. It returns no Kind for a call to
// map, else KindSkip or KindReject with the reason, and an explanation for a
// person that quotes nothing of the event. It is called for every call that is
// JSON, whatever its type.
type Selector func(*Call) (kind Kind, reason Reason, detail string)
