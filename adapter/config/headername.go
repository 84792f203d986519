package config

import (
	"errors"
	"slices"
	"strings"
)

// Headers that cannot carry a credential to this program.
var (
	// hopHeaders end at the next proxy or server (RFC 9110, section 7.6.1). Go's
	// server also takes Host and Transfer-Encoding out of the headers.
	hopHeaders = []string{
		"connection", "host", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization",
		"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
	}
	// senderHeaders describe a request or its body. Its sender sets them, and for all
	// requests alike.
	senderHeaders = []string{
		"accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "content-encoding",
		"content-length", "content-type", "date", "expect", "origin", "pragma", "referer", "user-agent",
	}
	// proxyHeaders are set by proxies.
	proxyHeaders = []string{"forwarded", "via", "x-real-ip"}
)

const proxyHeaderPrefix = "x-forwarded-"

func checkHeaderName(text string) error {
	if text == "" {
		return nil
	}
	if err := checkText(text); err != nil {
		return err
	}
	if !headerPattern.MatchString(text) {
		return errors.New("is no header name: " +
			"write the name alone, such as X-My-Secret, and its value into segment.header.value")
	}
	const remedy = ": choose a name of its own, such as X-My-Secret"
	switch name := strings.ToLower(text); {
	case name == "authorization":
		return errors.New("is Authorization: use segment.bearer_token or segment.basic_key instead")
	case name == "x-signature":
		return errors.New("is X-Signature: use segment.shared_secret instead")
	case slices.Contains(hopHeaders, name):
		return errors.New("is a header that proxies and servers take for themselves, " +
			"so every request would be refused" + remedy)
	case slices.Contains(senderHeaders, name):
		return errors.New("is a header that describes the request and cannot carry a secret" + remedy)
	case slices.Contains(proxyHeaders, name), strings.HasPrefix(name, proxyHeaderPrefix):
		return errors.New("is a header that proxies set and cannot carry a secret" + remedy)
	}
	return nil
}
