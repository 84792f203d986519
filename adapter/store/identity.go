package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"

	"segment-saasquatch/adapter"
)

// clean makes a text storable.
func clean(text string) string { return adapter.StorableText(text) }

// cut shortens a text from outside to what is kept of a settled event.
func cut(text string) string { return adapter.StoredText(text) }

// textHash is a number of 48 bits for a text, which SQLite stores in six bytes.
// Where it finds a row, the text itself is compared as well.
func textHash(text string) int64 {
	sum := sha256.Sum256([]byte(text))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 16)
}

// bodyHash is what tells events of one messageId apart: 0 where the messageId is
// a valid key, since then it alone counts, and nil where the event has no identity. A
// redrive keeps it.
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

// unkeyedHash is the body hash of an event without a valid key. A replay of an earlier
// version, which hands its events over to a server, knows the fingerprint alone.
func unkeyedHash(identity, fingerprint int64) any { return orNull(cmp.Or(identity, fingerprint)) }

// accountOf returns the accountId, nil where it is the userId.
func accountOf(accountID, userID string) any {
	if accountID == userID {
		return nil
	}
	return clean(accountID)
}

// userHash is what deliveries of a user are found by, nil without a userId.
func userHash(userID string) any {
	if userID == "" {
		return nil
	}
	return textHash(userID) >> 16 // 32 bits do for a search
}

// orNull returns nil for the zero value.
func orNull[T comparable](value T) any {
	var zero T
	if value == zero {
		return nil
	}
	return value
}
