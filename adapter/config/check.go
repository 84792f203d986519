package config

import (
	"errors"
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
	aliasPattern  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	headerPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

func checkPath(text string) error {
	if text == "" {
		return nil
	}
	if err := checkText(text); err != nil {
		return err
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
	if err := checkText(text); err != nil {
		return err
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
	if err := checkHost(host); err != nil {
		return errors.New(err.Error() + remedy)
	}
	if strings.HasSuffix(u.Host, ":") {
		return errors.New("has no port behind its colon" + remedy)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("has a port outside 1 to 65535" + remedy)
		}
	}
	if u.Scheme == "http" && !isLoopback(host) {
		return errors.New("would send the API key over plain http to a host that is not loopback: write https://")
	}
	return nil
}

func checkTenantAlias(text string) error {
	if strings.HasPrefix(text, liveKeyPrefix) || strings.HasPrefix(text, testKeyPrefix) {
		return errors.New("looks like an API key: write the tenant alias here and the key into saasquatch.api_key")
	}
	if err := checkName(text); err != nil {
		return err
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
	return checkName(text)
}
