package webhook

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Credentials authenticate the requests of a connection. A request must satisfy each configured kind, by any one of
// its values. Several values are for rotation, since Segment drops a request after 401. Bearer tokens and Basic keys
// share a header, so they are one kind.
type Credentials struct {
	// SharedSecrets are the keys of X-Signature, the hex HMAC-SHA1 of the body. Of an array, Segment signs only the
	// first element; it has announced to sign the whole. A signature of the first element leaves the others
	// unauthenticated. It is accepted if the array has no others, if another kind of credential is configured, or by
	// AllowFirstElementSignature.
	SharedSecrets []adapter.Secret
	// BearerTokens are the tokens in Authorization: Bearer.
	BearerTokens []adapter.Secret
	// BasicKeys are the user names of Basic authentication, where Segment's partner webhooks put the customer's key.
	BasicKeys []adapter.Secret
	// HeaderName and HeaderValues are a header of the customer's own.
	HeaderName   string
	HeaderValues []adapter.Secret
	// AllowFirstElementSignature accepts an array whose signature covers only its first element, without another
	// credential. A sender with one signed event can then append any others to it.
	AllowFirstElementSignature bool
	// Insecure allows a connection without any credential. It does not disable configured ones.
	Insecure bool
}

// verifier checks a connection's credentials, in constant time for each value.
type verifier struct {
	Credentials
	authorizations [][sha256.Size]byte // digests, so that the time of a comparison tells no length
	headerValues   [][sha256.Size]byte
}

func newVerifier(c Credentials) (*verifier, error) {
	v := &verifier{Credentials: c}
	for _, values := range [][]adapter.Secret{c.SharedSecrets, c.BearerTokens, c.BasicKeys, c.HeaderValues} {
		if slices.ContainsFunc(values, adapter.Secret.IsZero) {
			return nil, errors.New("a credential is empty")
		}
	}
	for _, token := range c.BearerTokens {
		v.authorizations = append(v.authorizations, digest("bearer "+token.Reveal()))
	}
	for _, key := range c.BasicKeys {
		if strings.Contains(key.Reveal(), ":") {
			return nil, errors.New("a Basic key has a colon, which ends a user name: no request could match it")
		}
		v.authorizations = append(v.authorizations, digest("basic "+key.Reveal()))
	}
	for _, value := range c.HeaderValues {
		v.headerValues = append(v.headerValues, digest(value.Reveal()))
	}
	if (c.HeaderName == "") != (len(c.HeaderValues) == 0) {
		return nil, errors.New("a secret header needs both a name and a value")
	}
	if len(c.SharedSecrets) == 0 && !v.hasOther() && !c.Insecure {
		return nil, errors.New("no credential is configured, so anybody could send events: " +
			"configure a shared secret, or say that it is insecure")
	}
	return v, nil
}

// hasOther reports whether a kind of credential other than the signature is configured.
func (v *verifier) hasOther() bool { return len(v.authorizations)+len(v.headerValues) > 0 }

func digest(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// checkHeaders checks the credentials that need no body.
func (v *verifier) checkHeaders(header http.Header) error {
	if len(v.authorizations) > 0 && !matches(v.authorizations, authorization(header)) {
		return refuse(http.StatusUnauthorized, "the Authorization header is missing or wrong")
	}
	if len(v.headerValues) > 0 && !matches(v.headerValues, header.Get(v.HeaderName)) {
		return refuse(http.StatusUnauthorized, "the header %s is missing or wrong", v.HeaderName)
	}
	return nil
}

// authorization returns the Authorization header in the form of the digests, and nothing for a header that is neither
// Bearer nor valid Basic. It ignores the password of Basic, which Segment's partner webhooks leave empty.
func authorization(header http.Header) string {
	if user, _, ok := (&http.Request{Header: header}).BasicAuth(); ok {
		return "basic " + user
	}
	scheme, token, _ := strings.Cut(header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return "bearer " + strings.TrimSpace(token)
}

func matches(want [][sha256.Size]byte, got string) bool {
	sum, found := digest(got), 0
	for i := range want {
		found |= subtle.ConstantTimeCompare(want[i][:], sum[:])
	}
	return found == 1
}

// The values of verified_by in the log.
const (
	verifiedByNothing = "nothing"
	verifiedByHeader  = "header"
	verifiedByBody    = "signature"
	verifiedByFirst   = "signature of the first event"
)

// checkSigned checks before the body is read that there is a signature in the right form, unless checkBody may excuse
// its absence.
func (v *verifier) checkSigned(header http.Header) error {
	if len(v.SharedSecrets) == 0 {
		return nil
	}
	signature, err := signatureOf(header)
	if err == nil && signature == nil && !v.hasOther() {
		return errUnsigned
	}
	return err
}

var errUnsigned = refuse(http.StatusUnauthorized, "X-Signature is missing: set the shared secret in Segment's "+
	"destination settings, and map `data` to the whole event, because Segment does not sign empty data")

// signatureOf returns the bytes of X-Signature, nil if it is absent.
func signatureOf(header http.Header) ([]byte, error) {
	text := strings.TrimSpace(header.Get("X-Signature"))
	if text == "" {
		return nil, nil
	}
	signature, err := hex.DecodeString(text)
	if err != nil || len(signature) != sha1.Size {
		return nil, refuse(http.StatusUnauthorized, "X-Signature is not an HMAC-SHA1 in hexadecimal digits")
	}
	return signature, nil
}

// vouching returns a function that reports whether the beginning of a body verifies its sender: the first element of
// an array is complete, and the signature covers it. It returns nil if checkHeaders has verified the sender, or
// nothing can.
func (v *verifier) vouching(header http.Header) func(beginning []byte) bool {
	if len(v.SharedSecrets) == 0 || v.hasOther() {
		return nil
	}
	signature, _ := signatureOf(header) // checkBody returns the error
	tried := signature == nil
	return func(beginning []byte) bool {
		if tried {
			return false
		}
		first := firstElement(beginning)
		tried = first != nil
		return tried && v.signedElement(signature, first, unwrap(first))
	}
}

// checkBody checks the signature after checkHeaders, and returns which credential verified the request.
func (v *verifier) checkBody(header http.Header, body []byte, events batch) (variant string, err error) {
	if len(v.SharedSecrets) == 0 {
		if v.hasOther() {
			return verifiedByHeader, nil
		}
		return verifiedByNothing, nil
	}
	signature, err := signatureOf(header)
	if err != nil {
		return "", err
	}
	if signature == nil {
		// Segment does not sign a batch whose first event its mapping left empty. Only a batch of nulls is excused:
		// else a sender could put a null in front and leave the events after it unsigned.
		if events.onlyNulls() && v.hasOther() {
			return verifiedByHeader, nil
		}
		return "", errUnsigned
	}
	// The first element comes first: Segment signs it today, and it is far shorter than the array.
	if !v.signedFirst(signature, events) {
		if v.signed(signature, body) {
			return verifiedByBody, nil
		}
		if formEncoded(body) || mapping.IsFormEncoded(events.first) {
			return "", refuse(http.StatusUnauthorized, "X-Signature does not match the body, which is form-encoded, "+
				"because Segment signs JSON: %s", sendJSON)
		}
		return "", refuse(http.StatusUnauthorized, "X-Signature does not match the body: "+
			"compare the shared secret with Segment's destination settings")
	}
	if len(events.elements) == 1 {
		return verifiedByBody, nil
	}
	if !v.hasOther() && !v.AllowFirstElementSignature {
		return "", refuse(http.StatusUnauthorized, "X-Signature covers only the first of %d events: configure a "+
			"second credential, such as a bearer token, in Segment and here, or set allow_first_element_signature",
			len(events.elements))
	}
	return verifiedByFirst, nil
}

// signedFirst reports whether the signature is of an array's first element, as it stands in the array or unwrapped.
func (v *verifier) signedFirst(signature []byte, events batch) bool {
	return events.array && len(events.elements) > 0 && v.signedElement(signature, events.first, events.elements[0])
}

func (v *verifier) signedElement(signature, element, unwrapped []byte) bool {
	return v.signed(signature, element) || len(unwrapped) < len(element) && v.signed(signature, unwrapped)
}

// signed reports whether the signature is of signed, by any of the secrets.
func (v *verifier) signed(signature, signed []byte) bool {
	found := false
	for _, secret := range v.SharedSecrets {
		mac := hmac.New(sha1.New, []byte(secret.Reveal()))
		mac.Write(signed)
		found = hmac.Equal(mac.Sum(nil), signature) || found
	}
	return found
}
