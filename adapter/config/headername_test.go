package config

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestHeaderNames: a header that cannot carry a credential is a fault, in any case.
func TestHeaderNames(t *testing.T) {
	bad := slices.Concat(hopHeaders, senderHeaders, proxyHeaders, []string{
		"authorization", "x-signature", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
		"x-forwarded-anything",
		"X My", "X-My:", "X-My-Secret: value", ":authority", "X-Ä", "X(a)", "X\tY", "a,b", "a/b", "a=b",
		"'X-My-Secret'",
		"`X-My-Secret`", `"X-My-Secret"`, "${HEADER}", "$HEADER", "%HEADER%", " X-My", "X-My ",
	})
	for _, name := range bad {
		for _, name := range []string{name, strings.ToUpper(name), http.CanonicalHeaderKey(name)} {
			_, err := Load(Source{Flags: flags(t, "--segment-header-name="+name)})
			list := faultsOf(err)
			if len(list) != 1 || list[0].Key != "segment.header.name" || list[0].Where != "--segment-header-name" {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	for _, name := range []string{"X-My-Secret", "X-Api-Key", "api-key", "Cookie", "X-Auth", "Token", "X-Forward",
		"Hostname", "X-Host", "a", "x_my_secret", "X.My", "Content", "X-Content-Type"} {
		if problem := headerNameProblem(name); problem != "" {
			t.Errorf("%q: %s", name, problem)
		}
	}
}

// TestHeadersThatServersTake shows with Go's server why some headers are refused. Allowed headers reach a handler as
// they were sent, and some of the others do not.
func TestHeadersThatServersTake(t *testing.T) {
	got := make(chan http.Header, 1)
	handler := func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() }
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()
	send := func(name string) string {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: h\r\n%s: hunter2\r\nConnection: close\r\n\r\n",
			name); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return response.Status
		}
		return (<-got).Get(name)
	}
	for _, name := range []string{"X-My-Secret", "x_my_secret", "Cookie", "X.My", "api-key"} {
		if value := send(name); value != "hunter2" || headerNameProblem(name) != "" {
			t.Errorf("%s arrives as %q", name, value)
		}
	}
	for _, name := range []string{"Host", "Transfer-Encoding", "Content-Length"} {
		if value := send(name); value == "hunter2" || headerNameProblem(name) == "" {
			t.Errorf("%s arrives as %q", name, value)
		}
	}
}
