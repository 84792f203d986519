package webhook

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
)

func secrets(texts ...string) (list []adapter.Secret) {
	for _, text := range texts {
		list = append(list, adapter.NewSecret(text))
	}
	return list
}

func signature(secret, body string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

const (
	single     = `{"type":"track","n":1}`
	double     = `[{"type":"track","n":1},{"type":"track","n":2}]`
	lone       = `[ {"type":"track","n":1} ]`
	extensible = `[{"json":{"type":"track","n":1}},{"json":{"type":"track","n":2}}]`
	nullFirst  = `[null,{"type":"track","n":2}]`
	onlyNulls  = `[null, {"json":null},{ "json" : null } ]`
)

func TestVerify(t *testing.T) {
	signed := Credentials{SharedSecrets: secrets("secret-1", "secret-2")}
	both := Credentials{SharedSecrets: secrets("secret-1"), BearerTokens: secrets("token-1")}
	header := func(pairs ...string) http.Header {
		h := make(http.Header)
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	const xs, auth = "X-Signature", "Authorization"
	tests := []struct {
		name        string
		credentials Credentials
		header      http.Header
		body        string
		variant     string // empty: refused
	}{
		{"single", signed, header(xs, signature("secret-1", single)), single, verifiedByBody},
		{"second secret", signed, header(xs, signature("secret-2", single)), single, verifiedByBody},
		{"upper case", signed, header(xs, strings.ToUpper(signature("secret-1", single))), single, verifiedByBody},
		{"wrong secret", signed, header(xs, signature("secret-3", single)), single, ""},
		{"wrong body", signed, header(xs, signature("secret-1", single+" ")), single, ""},
		{"missing", signed, header(), single, ""},
		{"not hex", signed, header(xs, "zz"), single, ""},
		{"too short", signed, header(xs, signature("secret-1", single)[:38]), single, ""},
		{"too long", signed, header(xs, signature("secret-1", single)+"00"), single, ""},
		{"whole array", signed, header(xs, signature("secret-1", double)), double, verifiedByBody},
		{"first element alone is not enough", signed, header(xs, signature("secret-1", single)), double, ""},
		{"first element of one", signed, header(xs, signature("secret-1", single)), lone, verifiedByBody},
		{"first element and a token", both, header(xs, signature("secret-1", single), auth, "Bearer token-1"), double,
			verifiedByFirst},
		{"first element and a wrong token", both, header(xs, signature("secret-1", single), auth, "Bearer token-2"),
			double, ""},
		{"token without signature", both, header(auth, "Bearer token-1"), double, ""},
		{"signature without token", both, header(xs, signature("secret-1", double)), double, ""},
		{"first element allowed", Credentials{SharedSecrets: secrets("secret-1"), AllowFirstElementSignature: true},
			header(xs, signature("secret-1", single)), double, verifiedByFirst},
		{"second element signed", Credentials{SharedSecrets: secrets("secret-1"), AllowFirstElementSignature: true},
			header(xs, signature("secret-1", `{"type":"track","n":2}`)), double, ""},
		{"extensible, inner signed", both, header(xs, signature("secret-1", single), auth, "Bearer token-1"),
			extensible, verifiedByFirst},
		{"extensible, element signed", both, header(xs, signature("secret-1", `{"json":`+single+`}`), auth,
			"Bearer token-1"), extensible, verifiedByFirst},
		{"null first, unsigned, with token", both, header(auth, "Bearer token-1"), nullFirst, ""},
		{"wrapped null first, unsigned, with token", both, header(auth, "Bearer token-1"), `[{"json":null},{"json":` +
			single + `}]`, ""},
		{"null last, unsigned, with token", both, header(auth, "Bearer token-1"), `[` + single + `,null]`, ""},
		{"no null, unsigned, with token", both, header(auth, "Bearer token-1"), `[{"json":"null"}]`, ""},
		{"only nulls, unsigned, with token", both, header(auth, "Bearer token-1"), onlyNulls, verifiedByHeader},
		{"only nulls, unsigned, wrong token", both, header(auth, "Bearer token-2"), onlyNulls, ""},
		{"only nulls, unsigned, no token", signed, header(), onlyNulls, ""},
		{"empty array, unsigned, with token", both, header(auth, "Bearer token-1"), `[]`, ""},
		{"null first, unsigned, no token", signed, header(), nullFirst, ""},
		{"null first, wrongly signed, with token", both, header(auth, "Bearer token-1", xs, signature("x", "null")),
			nullFirst, ""},
		{"empty array unsigned", signed, header(), "[]", ""},
		{"empty array signed", signed, header(xs, signature("secret-1", "[]")), "[]", verifiedByBody},
		{"bearer", Credentials{BearerTokens: secrets("token-1", "token-2")}, header(auth, "Bearer token-2"), double,
			verifiedByHeader},
		{"bearer in other case", Credentials{BearerTokens: secrets("token-1")}, header(auth, "bEARER  token-1"),
			double, verifiedByHeader},
		{"bearer wrong", Credentials{BearerTokens: secrets("token-1")}, header(auth, "Bearer TOKEN-1"), double, ""},
		{"bearer prefix", Credentials{BearerTokens: secrets("token-1")}, header(auth, "Bearer token-11"), double, ""},
		{"bearer missing", Credentials{BearerTokens: secrets("token-1")}, header(), double, ""},
		{"basic key", Credentials{BasicKeys: secrets("key-1")}, header(auth, basic("key-1", "")), single,
			verifiedByHeader},
		{"basic key with any password", Credentials{BasicKeys: secrets("key-1")}, header(auth, basic("key-1", "x")),
			single, verifiedByHeader},
		{"basic key wrong", Credentials{BasicKeys: secrets("key-1")}, header(auth, basic("", "key-1")), single, ""},
		{"basic key as bearer", Credentials{BasicKeys: secrets("key-1")}, header(auth, "Bearer key-1"), single, ""},
		{"basic key not encoded", Credentials{BasicKeys: secrets("key-1")}, header(auth, "Basic key-1"), single, ""},
		{"basic key of another scheme", Credentials{BasicKeys: secrets("key-1")}, header(auth, "Digest key-1"), single,
			""},
		{"bearer token as basic", Credentials{BearerTokens: secrets("token-1")}, header(auth, basic("token-1", "")),
			single, ""},
		{"bearer or basic", Credentials{BearerTokens: secrets("token-1"), BasicKeys: secrets("key-1")},
			header(auth, basic("key-1", "")), single, verifiedByHeader},
		{"own header", Credentials{HeaderName: "X-Key", HeaderValues: secrets("v-1", "v-2")}, header("X-Key", "v-2"),
			single, verifiedByHeader},
		{"own header wrong", Credentials{HeaderName: "X-Key", HeaderValues: secrets("v-1")}, header("X-Key", "v"),
			single, ""},
		{"own header missing", Credentials{HeaderName: "X-Key", HeaderValues: secrets("v-1")}, header(), single, ""},
		{"insecure", Credentials{Insecure: true}, header(), single, verifiedByNothing},
		{"insecure does not lift a secret", Credentials{Insecure: true, SharedSecrets: secrets("secret-1")}, header(),
			single, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			verifier, err := newVerifier(test.credentials)
			if err != nil {
				t.Fatal(err)
			}
			events, err := split([]byte(test.body), DefaultMaxEvents)
			if err != nil {
				t.Fatal(err)
			}
			variant := ""
			if err = verifier.checkHeaders(test.header); err == nil {
				variant, err = verifier.checkBody(test.header, []byte(test.body), events)
			}
			var refused *requestError
			if variant != test.variant || (test.variant == "") != errors.As(err, &refused) {
				t.Fatalf("got %q, %v; want %q", variant, err, test.variant)
			}
			if refused != nil {
				if refused.status != http.StatusUnauthorized {
					t.Errorf("status %d", refused.status)
				}
				for _, secret := range []string{"secret-1", "token-1", "key-1", "v-1"} {
					if strings.Contains(refused.message, secret) {
						t.Errorf("the answer tells a secret: %s", refused.message)
					}
				}
			}
		})
	}
}

// TestNoShapeLiftsACredential checks that a request that lacks a kind of credential
// delivers no event, whatever the shape of its batch.
func TestNoShapeLiftsACredential(t *testing.T) {
	const secret, token = "secret-1", "token-1"
	evil := []string{"null", single, `{"json":null}`, `{"json":` + single + `}`, `{"json":"null"}`, `""`, `[]`}
	var bodies []string
	for _, first := range evil {
		bodies = append(bodies, "["+first+"]")
		for _, second := range evil {
			bodies = append(bodies, "["+first+","+second+"]", "[null,"+first+","+second+"]",
				" [ "+first+" , "+second+" ] ")
		}
	}
	for _, other := range []Credentials{
		{BearerTokens: secrets(token)}, {BasicKeys: secrets(token)}, {HeaderName: "X-Key",
			HeaderValues: secrets(token)},
	} {
		other.SharedSecrets = secrets(secret)
		verifier, err := newVerifier(other)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range bodies {
			events, err := split([]byte(body), DefaultMaxEvents)
			if err != nil {
				t.Fatal(err)
			}
			authorized := http.Header{"X-Key": {token}, "Authorization": {"Bearer " + token}}
			if len(other.BasicKeys) > 0 {
				authorized.Set("Authorization", basic(token, ""))
			}
			if err := verifier.checkHeaders(authorized); err != nil {
				t.Fatal(err)
			}
			for _, signatures := range [][]string{nil, {""}, {signature("x", body)}, {signature(secret, "null")},
				{signature(secret, "")}} {
				authorized["X-Signature"] = signatures
				_, err := verifier.checkBody(authorized, []byte(body), events)
				signedNull := len(signatures) > 0 && signatures[0] == signature(secret, "null")
				if err == nil && strings.Contains(body, "track") &&
					!(signedNull && strings.HasPrefix(strings.TrimLeft(body, " [")+",", "null")) {
					t.Errorf("%s with the signatures %q passes", body, signatures)
				}
			}
			if err := verifier.checkHeaders(http.Header{}); err == nil {
				t.Error("a signature spares the other credential")
			}
		}
	}
}

// TestFormEncodedBodiesAreNamed checks that the sender of a body that Segment signs
// before it form-encodes it reads about that, not about its secret.
func TestFormEncodedBodiesAreNamed(t *testing.T) {
	credentials := Credentials{SharedSecrets: secrets("s"), BearerTokens: secrets("t")}
	h, err := New([]Connection{{Path: "/s", Acceptor: mapAndDeliver(t), Credentials: credentials}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		"type=track&userId=u":        "form-encoded",
		`[{"body":"type=track"}]`:    "form-encoded",
		single:                       "shared secret",
		`[{"body":"a","title":"b"}]`: "shared secret",
	} {
		w := serve(h, "POST", "/s", strings.NewReader(body),
			"X-Signature", signature("s", good(1)), "Authorization", "Bearer t")
		if w.Code != 401 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
	// The signature is checked first: a stranger learns nothing of the body.
	w := serve(h, "POST", "/s", strings.NewReader(`{"batch":[]}`),
		"X-Signature", signature("x", ""), "Authorization", "Bearer t")
	if w.Code != 401 {
		t.Errorf("a batch of the Tracking API, wrongly signed: %d %s", w.Code, w.Body)
	}
}

func TestNewRefusesCredentials(t *testing.T) {
	for name, credentials := range map[string]Credentials{
		"none":         {},
		"empty secret": {SharedSecrets: secrets("")},
		"empty token":  {BearerTokens: secrets("")},
		"colon":        {BasicKeys: secrets("a:b")},
		"header alone": {HeaderName: "X-Key", Insecure: true},
		"value alone":  {HeaderValues: secrets("v")},
	} {
		if _, err := New([]Connection{{Name: "c", Path: "/segment", Credentials: credentials}},
			Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(signature("secret-1", single), "Bearer x", single)
	f.Add("", basic("k", ""), double)
	verifier, err := newVerifier(Credentials{SharedSecrets: secrets("secret-1"),
		BasicKeys: secrets("key-that-no-one-guesses")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sig, authorization, body string) {
		header := http.Header{"X-Signature": {sig}, "Authorization": {authorization}}
		if verifier.checkHeaders(header) == nil {
			t.Fatalf("Authorization %q passed", authorization)
		}
		events, err := split([]byte(body), DefaultMaxEvents)
		if err != nil {
			return
		}
		if _, err := verifier.checkBody(header, []byte(body), events); err == nil &&
			!strings.EqualFold(strings.TrimSpace(sig), signature("secret-1", body)) &&
			!strings.EqualFold(strings.TrimSpace(sig), signature("secret-1", string(events.elements[0]))) {
			t.Fatalf("signature %q of %q passed", sig, body)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	body := []byte("[" + strings.Repeat(single+",", 9999) + single + "]")
	verifier, err := newVerifier(Credentials{SharedSecrets: secrets("secret-1"), BearerTokens: secrets("token-1")})
	if err != nil {
		b.Fatal(err)
	}
	events, err := split(body, DefaultMaxEvents)
	if err != nil {
		b.Fatal(err)
	}
	for name, signed := range map[string]string{"whole": string(body), "first": single} {
		header := http.Header{"X-Signature": {signature("secret-1", signed)}}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := verifier.checkBody(header, body, events); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
