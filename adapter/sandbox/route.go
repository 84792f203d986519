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

// takesJSON reports whether the call needs the content type application/json.
func (e endpoint) takesJSON() bool {
	return e != lookUpUser && e != uploadFile && e != downloadFile
}

// call is the method and path of a request, parsed. The names are unescaped.
type call struct {
	endpoint  endpoint
	tenant    string
	accountID string
	userID    string
	// job and file are set for a download.
	job  string
	file string
}

// maxParts is the number of parts of the longest path, with the empty part before the first slash.
const maxParts = 10

// route parses an escaped path. It uses no router: an id may hold any character, and a router that cleans, decodes or
// redirects paths would let an id choose another endpoint. No endpoint has a dot segment, escaped or not, because
// servers and proxies resolve them.
func route(method, escapedPath string) (call, *apiError) {
	var parts [maxParts]string
	n := 0
	for rest, more := escapedPath, true; more; n++ {
		if n == maxParts {
			return call{}, errNoEndpoint
		}
		parts[n], rest, more = strings.Cut(rest, "/")
	}
	if n < 5 || parts[0] != "" || parts[1] != "api" || parts[2] != "v1" {
		return call{}, errNoEndpoint
	}
	var c call
	var methods map[string]endpoint
	names := [maxParts]*string{3: &c.tenant}
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
