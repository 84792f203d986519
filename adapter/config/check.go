package config

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The functions below return why a value cannot be right and the remedy, or "". All of them accept "". They run when a
// value is read and again when the configuration is validated. They are for settings into which a credential is easily
// pasted by mistake. A wrong value is not kept, so that it cannot be printed, and the error does not show it.

var (
	pathPattern   = regexp.MustCompile(`^/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*)?$`)
	aliasPattern  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	headerPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

func pathProblem(text string) string {
	if problem := textProblem(text); text == "" || problem != "" {
		return problem
	}
	segments := strings.Split(text, "/")
	switch {
	case !pathPattern.MatchString(text):
		return "is not a plain path: write one such as /segment/live, " +
			"of letters, digits and . _ ~ - between single slashes, with none at the end"
	case slices.Contains(segments, ".") || slices.Contains(segments, ".."):
		return "has a . or .. segment: write a plain path such as /segment/live"
	case text == "/healthz" || text == "/readyz":
		return "is the path of a health check: choose another, such as /segment"
	}
	return ""
}

func baseURLProblem(text string) string {
	if problem := textProblem(text); text == "" || problem != "" {
		return problem
	}
	const remedy = ": write scheme and host only, such as https://app.referralsaasquatch.com"
	if strings.ContainsAny(text, "?#@") {
		return "contains a user, query or fragment" + remedy
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return "is not a URL" + remedy
	}
	host, port := u.Hostname(), u.Port()
	switch number, err := strconv.ParseUint(port, 10, 16); {
	case u.Scheme != "https" && u.Scheme != "http":
		return "begins with neither https:// nor http://" + remedy
	case u.Path != "":
		return "contains a path" + remedy
	case hostProblem(host) != "":
		return hostProblem(host) + remedy
	case strings.HasSuffix(u.Host, ":"):
		return "has no port after its colon" + remedy
	case port != "" && (err != nil || number == 0):
		return "has a port outside 1 to 65535" + remedy
	case u.Scheme == "http" && !isLoopback(host):
		return "would send the API key over plain http to a host that is not loopback: write https://"
	}
	return ""
}

func aliasProblem(text string) string {
	if strings.HasPrefix(text, liveKeyPrefix) || strings.HasPrefix(text, testKeyPrefix) {
		return "looks like an API key: write the tenant alias here and the key into saasquatch.api_key"
	}
	if problem := nameProblem(text); text == "" || problem != "" || aliasPattern.MatchString(text) {
		return problem
	}
	return "is not a tenant alias: " +
		"write the alias of the SaaSquatch tenant, such as test_abc, without spaces or slashes"
}

func userNameProblem(text string) string {
	if strings.Contains(text, ":") {
		return "contains a colon: write the AccountSID alone here and the AuthToken into saasquatch.api_key"
	}
	return nameProblem(text)
}

// Headers that cannot carry a credential to this program.
var (
	// hopHeaders end at the next proxy or server (RFC 9110, section 7.6.1). Go's server also takes Host and
	// Transfer-Encoding out of the headers.
	hopHeaders = []string{
		"connection", "host", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization",
		"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
	}
	// senderHeaders describe a request or its body. The sender sets them in the same way for all requests.
	senderHeaders = []string{
		"accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "content-encoding",
		"content-length", "content-type", "date", "expect", "origin", "pragma", "referer", "user-agent",
	}
	// proxyHeaders are set by proxies, as are those that begin with x-forwarded-.
	proxyHeaders = []string{"forwarded", "via", "x-real-ip"}
)

func headerNameProblem(text string) string {
	if problem := textProblem(text); text == "" || problem != "" {
		return problem
	}
	const remedy = ": choose another name, such as X-My-Secret"
	switch name := strings.ToLower(text); {
	case !headerPattern.MatchString(text):
		return "is not a header name: " +
			"write the name alone, such as X-My-Secret, and its value into segment.header.value"
	case name == "authorization":
		return "is Authorization: use segment.bearer_token or segment.basic_key instead"
	case name == "x-signature":
		return "is X-Signature: use segment.shared_secret instead"
	case slices.Contains(hopHeaders, name):
		return "is a header that proxies and servers remove or rewrite, so every request would be refused" + remedy
	case slices.Contains(senderHeaders, name):
		return "is a header that describes the request and cannot carry a secret" + remedy
	case slices.Contains(proxyHeaders, name), strings.HasPrefix(name, "x-forwarded-"):
		return "is a header that proxies set and cannot carry a secret" + remedy
	}
	return ""
}
