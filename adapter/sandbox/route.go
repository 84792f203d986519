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
	uploadFile
	runGraphQL
	downloadFile
)

// takesJSON reports whether the call's body must be declared as JSON.
func (e endpoint) takesJSON() bool {
	return e != lookUpUser && e != uploadFile && e != downloadFile
}

// call is what a request asks for. The names are unescaped.
type call struct {
	endpoint  endpoint
	tenant    string
	accountID string
	userID    string
	// job and file name a download.
	job  string
	file string
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
	if n < 5 || parts[0] != "" || parts[1] != "api" || parts[2] != "v1" {
		return call{}, errNoEndpoint
	}
	var c call
	var methods map[string]endpoint
	names := [segments]*string{3: &c.tenant}
	switch {
	case n == 5 && parts[4] == "graphql":
		methods = graphQLMethods
	case n == 6 && parts[4] == "export" && parts[5] == "upload":
		methods = uploadMethods
	case n == 8 && parts[4] == "export" && parts[6] == "download":
		names[5], names[7] = &c.job, &c.file
		methods = downloadMethods
	case n >= 9 && parts[4] == "open" && parts[5] == "account" && parts[7] == "user":
		names[6], names[8] = &c.accountID, &c.userID
		methods = userMethods
		if n == 10 {
			if parts[9] != "events" {
				return call{}, errNoEndpoint
			}
			methods = eventMethods
		}
	default:
		return call{}, errNoEndpoint
	}
	for i, name := range names {
		if name == nil {
			continue
		}
		text, err := url.PathUnescape(parts[i])
		if err != nil || text == "." || text == ".." {
			return call{}, errNoEndpoint
		}
		*name = text
	}
	if c.endpoint = methods[method]; c.endpoint == 0 {
		return call{}, errMethod
	}
	return c, nil
}

// The methods of each path.
var (
	graphQLMethods  = map[string]endpoint{http.MethodPost: runGraphQL}
	uploadMethods   = map[string]endpoint{http.MethodPost: uploadFile}
	downloadMethods = map[string]endpoint{http.MethodGet: downloadFile}
	eventMethods    = map[string]endpoint{http.MethodPost: trackEvents}
	userMethods     = map[string]endpoint{
		http.MethodPut:  upsertUser,
		http.MethodPost: createUser,
		http.MethodGet:  lookUpUser,
	}
)
