package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"segment-saasquatch/adapter"
)

// tokens are the hashes of the bearer tokens. All hashes have one length, so that the time of a comparison tells
// nothing.
type tokens [][sha256.Size]byte

func newTokens(secrets []adapter.Secret) tokens {
	hashes := make(tokens, len(secrets))
	for i, secret := range secrets {
		hashes[i] = sha256.Sum256([]byte(secret.Reveal()))
	}
	return hashes
}

// find returns the index of the token in an Authorization header, -1 if there is no valid one.
func (t tokens) find(authorization string) int {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return -1
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := -1
	for i := range t {
		if subtle.ConstantTimeCompare(hash[:], t[i][:]) == 1 {
			found = i
		}
	}
	return found
}
