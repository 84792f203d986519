package sandbox

import (
	"net/http"
	"net/url"
	"strings"
)

// endpoint is a call of SaaSquatch's API.
type endpoint uint8

const (
	trackEvents endpoint = iota + 1
	upsertUser
	createUser
	lookUpUser
)

// call is what a request asks for. The names are unescaped.
type call struct {
	endpoint  endpoint
	tenant    string
	accountID string
	userID    string
}

// segments is the number of parts of the longest path, counting the empty one
// before the first slash.
const segments = 10

// route finds the call of an escaped path. It takes the path apart by hand: an
// id may hold any character, and whatever cleans, decodes or redirects paths on
// the way would let an id choose another endpoint. A path with a dot segment is
// nobody's, escaped or not, since servers and proxies resolve them.
func route(method, escapedPath string) (call, *apiError) {
	var parts [segments]string
	n := 0
	for rest, more := escapedPath, true; more; n++ {
		if n == segments {
			return call{}, errNoEndpoint
		}
		parts[n], rest, more = strings.Cut(rest, "/")
	}
	if n < segments-1 || parts[0] != "" || parts[1] != "api" || parts[2] != "v1" ||
		parts[4] != "open" || parts[5] != "account" || parts[7] != "user" {
		return call{}, errNoEndpoint
	}
	if n == segments && parts[9] != "events" {
		return call{}, errNoEndpoint
	}
	var c call
	for i, name := range [...]*string{3: &c.tenant, 6: &c.accountID, 8: &c.userID} {
		if name == nil {
			continue
		}
		text, err := url.PathUnescape(parts[i])
		if err != nil || text == "." || text == ".." {
			return call{}, errNoEndpoint
		}
		*name = text
	}
	switch {
	case n == segments && method == http.MethodPost:
		c.endpoint = trackEvents
	case n == segments:
		return call{}, errMethod
	case method == http.MethodPut:
		c.endpoint = upsertUser
	case method == http.MethodPost:
		c.endpoint = createUser
	case method == http.MethodGet:
		c.endpoint = lookUpUser
	default:
		return call{}, errMethod
	}
	return c, nil
}
