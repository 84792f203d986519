package saasquatch

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// TestEchoedCredentials checks that results of calls have no credentials when a proxy repeats the request in its
// answer, in each way of debug pages.
func TestEchoedCredentials(t *testing.T) {
	const key, user = "TEST_k+y/with:signs~1234", "AC-user"
	for name, echo := range map[string]func(header, authorization string) string{
		"headers": func(header, _ string) string { return header },
		"a page":  func(header, _ string) string { return "<html><pre>" + header + "</pre></html>" },
		"JSON":    func(header, _ string) string { return mustJSON(map[string]string{"request": header}) },
		"an error": func(header, _ string) string {
			return mustJSON(apiError{Message: header, StatusCode: 400})
		},
		"the value alone": func(_, authorization string) string { return "wrong: " + authorization + "?" },
		"percent-encoded": func(_, authorization string) string {
			return "wrong: " + url.QueryEscape(authorization) + "?"
		},
		"the key": func(string, string) string { return "wrong key " + key },
		"the key, percent-encoded": func(string, string) string {
			return "wrong key " + url.QueryEscape(key) + " or " + url.PathEscape(key)
		},
		"the key in base64": func(string, string) string {
			return "wrong " + base64.URLEncoding.EncodeToString([]byte(key)) + " " +
				base64.StdEncoding.EncodeToString([]byte(":"+key))
		},
		"at the end of the part that is read": func(_, authorization string) string {
			return strings.Repeat("x", maxStart-len(authorization)+5) + authorization
		},
	} {
		for _, userName := range []string{"", user} {
			for _, status := range []int{200, 400, 401, 404, 409, 500} {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					header, _ := httputil.DumpRequest(r, false)
					w.WriteHeader(status)
					fmt.Fprint(w, echo(string(header), r.Header.Get("Authorization")))
				}))
				opts := Options{BaseURL: server.URL, TenantAlias: "t", UserAgent: "test",
					APIKey: adapter.NewSecret(key), UserName: userName}
				client, err := New(opts)
				if err != nil {
					t.Fatal(err)
				}
				importer, err := NewImporter(opts)
				if err != nil {
					t.Fatal(err)
				}
				told := []string{
					client.Track(t.Context(), &mapping.UserEvent{UserID: "u", AccountID: "a",
						Body: []byte(`{}`)}).Detail,
					client.Upsert(t.Context(), &mapping.UserUpsert{UserID: "u", AccountID: "a",
						Body: []byte(`{}`)}).Detail,
				}
				_, err = importer.TenantMode(t.Context())
				told = append(told, fmt.Sprint(err))
				server.Close()
				for _, text := range told {
					for _, secret := range []string{
						key, url.QueryEscape(key), url.PathEscape(key), key[:12],
						strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(userName+":"+key)), "="),
						strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(userName+":"+key)), "=")[:12],
						strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(key)), "="),
						strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(":"+key)), "="),
					} {
						if strings.Contains(text, secret) {
							t.Errorf("%s, %d: %s", name, status, text)
						}
					}
				}
			}
		}
	}
}

// TestAuthorizationInWords checks that SaaSquatch's own message about credentials stays readable.
func TestAuthorizationInWords(t *testing.T) {
	const message = "The call lacks authorization credentials."
	if got := credentialForms("", adapter.NewSecret("TEST_secret")).hide(message); got != message {
		t.Errorf("got %q", got)
	}
}

func mustJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}
