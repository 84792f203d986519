package adapter

import "fmt"

// Call is a kind of call to SaaSquatch. The zero value is none.
type Call uint8

// The calls are stored by their numbers.
const (
	// CallTrack is REST's Track User Event.
	CallTrack Call = 1
	// CallUpsert is REST's User Upsert.
	CallUpsert Call = 2
	// CallTrackBulk is GraphQL's logUserEvents.
	CallTrackBulk Call = 3
	// CallUpsertBulk is GraphQL's upsertUsers.
	CallUpsertBulk Call = 4
)

var callNames = [...]string{
	CallTrack: "track", CallUpsert: "upsert", CallTrackBulk: "logUserEvents", CallUpsertBulk: "upsertUsers",
}

// String returns the public name of the call, such as "logUserEvents", and an empty text for none.
func (c Call) String() string {
	if int(c) >= len(callNames) {
		return fmt.Sprintf("Call(%d)", uint8(c))
	}
	return callNames[c]
}

// MarshalText writes the public name.
func (c Call) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a public name.
func (c *Call) UnmarshalText(text []byte) error {
	for call, name := range callNames {
		if name == string(text) {
			*c = Call(call)
			return nil
		}
	}
	return fmt.Errorf("unknown call %q: want one of %q", text, callNames[1:])
}
