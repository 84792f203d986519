package mapping

// Bounds of an idempotency key in characters, from SaaSquatch's API definition.
const (
	MinIdempotencyKey = 8
	MaxIdempotencyKey = 64
)

// IsIdempotencyKey reports whether SaaSquatch accepts id as an idempotency key: 8 to 64 characters of A-Z a-z 0-9 - _
// . (M16).
func IsIdempotencyKey[T string | []byte](id T) bool {
	if len(id) < MinIdempotencyKey || len(id) > MaxIdempotencyKey {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !plainNames[c] && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
