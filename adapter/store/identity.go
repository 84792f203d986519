package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"

	"segment-saasquatch/adapter"
)

// clean returns a text in a form that both databases store.
func clean(text string) string { return adapter.StorableText(text) }

// cut shortens a text from outside to the length that is kept of a settled event.
func cut(text string) string { return adapter.StoredText(text) }

// textHash is a hash of 48 bits for a text, which SQLite stores in six bytes. Look-ups by it compare the text as
// well.
func textHash(text string) int64 {
	sum := sha256.Sum256([]byte(text))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 16)
}

// bodyHash tells events of one messageId apart. It is 0 if the messageId is a valid key, because then the messageId
// alone counts, and nil if the event has no identity. A redrive keeps it.
func bodyHash(a *adapter.Arrival) any {
	switch {
	case a.MessageID == "", a.Outcome == adapter.Duplicate:
		return nil
	case a.Keyed:
		return int64(0)
	case a.Outcome == adapter.Pending:
		return unkeyedHash(a.Identity, a.Fingerprint)
	default: // for a redrive
		return orNull(a.Identity)
	}
}

// unkeyedHash is the body hash of an event without a valid key. A replay of an earlier version, which passes its
// events to a server, knows only the fingerprint.
func unkeyedHash(identity, fingerprint int64) any { return orNull(cmp.Or(identity, fingerprint)) }

// accountOf returns the accountId, nil if it is the userId.
func accountOf(accountID, userID string) any {
	if accountID == userID {
		return nil
	}
	return clean(accountID)
}

// userHash is the hash for look-ups of a user's deliveries, nil without a userId.
func userHash(userID string) any {
	if userID == "" {
		return nil
	}
	return textHash(userID) >> 16 // 32 bits are enough for a search
}

// orNull returns nil for the zero value.
func orNull[T comparable](value T) any {
	var zero T
	if value == zero {
		return nil
	}
	return value
}
