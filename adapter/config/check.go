package config

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// The checks below run when a value is read and again when the configuration
// is validated. They are for settings in which a credential is easily pasted by
// mistake: a value that fails is neither kept, so that it cannot be printed, nor
// shown in the fault. All of them accept "".

var (
	pathPattern   = regexp.MustCompile(`^/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*)?$`)
	hostPattern   = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	aliasPattern  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	headerPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

func checkPath(text string) error {
	if text == "" {
		return nil
	}
	if !pathPattern.MatchString(text) {
		return errors.New("is not a plain path: write one such as /segment/live, of letters, digits and . _ ~ - between single slashes, with none at the end")
	}
	for segment := range strings.SplitSeq(text, "/") {
		if segment == "." || segment == ".." {
			return errors.New("has a . or .. segment: write a plain path such as /segment/live")
		}
	}
	if text == "/healthz" || text == "/readyz" {
		return errors.New("is the path of a health check: choose another, such as /segment")
	}
	return nil
}

func checkBaseURL(text string) error {
	if text == "" {
		return nil
	}
	const remedy = ": write scheme and host only, such as https://app.referralsaasquatch.com"
	if strings.ContainsAny(text, "?#@") {
		return errors.New("holds a user, query or fragment" + remedy)
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return errors.New("is not a URL" + remedy)
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("begins with neither https:// nor http://" + remedy)
	}
	if u.Path != "" {
		return errors.New("holds a path" + remedy)
	}
	host := u.Hostname()
	addr, addrErr := netip.ParseAddr(host)
	if addrErr != nil && !hostPattern.MatchString(host) || strings.HasSuffix(u.Host, ":") {
		return errors.New("names no valid host" + remedy)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("has a port outside 1 to 65535" + remedy)
		}
	}
	loopback := strings.EqualFold(host, "localhost") || addrErr == nil && addr.IsLoopback()
	if u.Scheme == "http" && !loopback {
		return errors.New("would send the API key over plain http to a host that is not loopback: write https://")
	}
	return nil
}

func checkTenantAlias(text string) error {
	if strings.HasPrefix(text, liveKeyPrefix) || strings.HasPrefix(text, testKeyPrefix) {
		return errors.New("looks like an API key: write the tenant alias here and the key into saasquatch.api_key")
	}
	if text != "" && !aliasPattern.MatchString(text) {
		return errors.New("is no tenant alias: write the alias of the SaaSquatch tenant, such as test_abc, without spaces or slashes")
	}
	return nil
}

func checkUserName(text string) error {
	if strings.Contains(text, ":") {
		return errors.New("holds a colon: write the AccountSID alone here and the AuthToken into saasquatch.api_key")
	}
	return nil
}

func checkHeaderName(text string) error {
	if text == "" {
		return nil
	}
	if !headerPattern.MatchString(text) {
		return errors.New("is no header name: write the name alone, such as X-My-Secret, and its value into segment.header.value")
	}
	switch strings.ToLower(text) {
	case "authorization":
		return errors.New("is Authorization: use segment.bearer_token or segment.basic_key instead")
	case "x-signature":
		return errors.New("is X-Signature: use segment.shared_secret instead")
	}
	return nil
}
