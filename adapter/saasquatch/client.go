// Package saasquatch makes single requests to SaaSquatch's REST and GraphQL APIs
// and classifies the answers. It knows nothing of retries.
//
// A [Client] delivers events and upserts of users one by one. An [Importer] has files of events
// imported, and reads what became of them.
package saasquatch

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// DefaultBaseURL is the only production host that SaaSquatch documents.
const DefaultBaseURL = "https://app.referralsaasquatch.com"

// Options are what a Client needs to know of a tenant.
type Options struct {
	// BaseURL is scheme and host. Default: DefaultBaseURL.
	BaseURL string
	// TenantAlias names the tenant; aliases of test tenants start with test_.
	TenantAlias string
	// APIKey is the password of HTTP Basic authentication.
	APIKey adapter.Secret
	// UserName is the user name of HTTP Basic authentication, empty unless
	// impact.com's AccountSID:AuthToken is used. Default: empty.
	UserName string
	// Concurrency sizes the connection pool. Default: adapter.DefaultConcurrency.
	Concurrency int
	// AttemptTimeout bounds a request from start to the end of the answer's body.
	// Default: 10 s, as in SaaSquatch's Java SDK.
	AttemptTimeout time.Duration
	// UserAgent names this program.
	UserAgent string
	// TLS is the configuration of connections to the host, for a private one.
	// Default: the roots of the system.
	TLS *tls.Config
}

// Client makes requests for one tenant. It is safe for concurrent use.
type Client struct {
	// transport is used without an http.Client: there are no cookies, and no
	// redirect is to be followed.
	transport http.RoundTripper
	scheme    string
	host      string
	account   string // path up to and including the slash before the accountId
	header    http.Header
	secrets   secrets // in header
	timeout   time.Duration
}

const defaultAttemptTimeout = 10 * time.Second

// New returns a Client. It does not connect.
func New(opts Options) (*Client, error) {
	base, err := opts.complete()
	if err != nil {
		return nil, err
	}
	return &Client{
		transport: newTransport(opts.Concurrency, opts.TLS),
		scheme:    base.Scheme,
		host:      base.Host,
		account:   "/api/v1/" + escapeSegment(opts.TenantAlias) + "/open/account/",
		header: http.Header{
			"Authorization": opts.authorization(),
			"Content-Type":  {"application/json"},
			"Accept":        {"application/json"},
			"User-Agent":    {opts.UserAgent},
		},
		secrets: credentialForms(opts.UserName, opts.APIKey),
		timeout: opts.AttemptTimeout,
	}, nil
}

// complete fills in the defaults and returns the base URL.
func (o *Options) complete() (*url.URL, error) {
	if o.BaseURL == "" {
		o.BaseURL = DefaultBaseURL
	}
	base, err := url.Parse(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("parse base URL: %w", err)
	}
	if base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, fmt.Errorf("base URL %q: want https:// and a host", o.BaseURL)
	}
	if o.Concurrency <= 0 {
		o.Concurrency = adapter.DefaultConcurrency
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = defaultAttemptTimeout
	}
	return base, nil
}

// authorization returns the header of HTTP Basic authentication.
func (o *Options) authorization() []string {
	authorized := http.Request{Header: make(http.Header)}
	authorized.SetBasicAuth(o.UserName, o.APIKey.Reveal())
	return authorized.Header["Authorization"]
}

// Track makes one Track User Event call.
func (c *Client) Track(ctx context.Context, event *mapping.UserEvent) adapter.Attempt {
	target := c.target(event.AccountID, event.UserID, "/events", "")
	response, attempt := c.call(ctx, http.MethodPost, target, event.Body)
	if response == nil {
		return attempt
	}
	if response.plainSuccess() {
		return adapter.Attempt{Outcome: adapter.Delivered, Status: response.status}
	}
	keyed := event.IdempotencyKey != ""
	return response.judge(func(status int) adapter.Attempt { return classify(status, response.body.failure, keyed) },
		&mask{accountID: event.AccountID, userID: event.UserID, body: event.Body, eventKey: event.Key, secrets: c.secrets})
}

// Upsert makes one User Upsert call, which creates the user and its account if
// they are missing. It is idempotent: a pending one can be repeated at any time,
// though it says as of an event whether SaaSquatch may have processed it.
func (c *Client) Upsert(ctx context.Context, upsert *mapping.UserUpsert) adapter.Attempt {
	// Of the answer only the status is needed. By SaaSquatch's API definition fields
	// picks the members of the answer, which spares it making share links.
	target := c.target(upsert.AccountID, upsert.UserID, "", "fields=id,accountId")
	response, attempt := c.call(ctx, http.MethodPut, target, upsert.Body)
	if response == nil {
		return attempt
	}
	if response.plainSuccess() {
		return adapter.Attempt{Outcome: adapter.Delivered, Status: response.status}
	}
	return response.judge(func(status int) adapter.Attempt { return classifyUpsert(status, response.body.failure) },
		&mask{accountID: upsert.AccountID, userID: upsert.UserID, body: upsert.Body, secrets: c.secrets})
}

// response is what matters of an answer.
type response struct {
	status      int
	contentType string
	body        answerBody
	retryAfter  time.Duration
}

// plainSuccess reports whether SaaSquatch has taken what was sent. The body says so
// together with the status: proxies answer 200 with pages of their own, and gateways
// with an error. A body that breaks off, or none, leaves the status alone to say it.
func (r *response) plainSuccess() bool {
	return 200 <= r.status && r.status <= 299 && r.body.form != formOther && !r.body.failure.stated
}

// judge says what an answer means that is no plain success. A 2xx with SaaSquatch's
// error object counts by the status that the object states.
func (r *response) judge(classify func(status int) adapter.Attempt, private *mask) adapter.Attempt {
	var attempt adapter.Attempt
	failure := &r.body.failure
	switch {
	case r.status < 200 || r.status > 299:
		attempt = classify(r.status)
	case failure.status() != 0:
		attempt = classify(failure.status())
	default:
		attempt = unexpected(r.status)
	}
	attempt.Status = r.status
	if attempt.Outcome == adapter.Delivered {
		return attempt
	}
	attempt.RetryAfter = r.retryAfter
	if attempt.Reason == mapping.ReasonUnexpectedAnswer {
		attempt.Detail = r.describe(private)
	} else {
		attempt.Detail = failure.detail(r.status, private)
	}
	return attempt
}

// call makes one request. Without an answer it returns nil and what that means.
func (c *Client) call(ctx context.Context, method string, target *url.URL, body []byte) (*response, adapter.Attempt) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// A transport's errors have no common type for what fails before a connection
	// is ready: dialling, TLS, a proxy that refuses, the wait for a free one.
	var way traced
	ctx = way.trace(ctx)
	answer, err := c.transport.RoundTrip(c.newRequest(ctx, method, target, body))
	if err != nil {
		return nil, classifyError(err, way.came())
	}
	defer answer.Body.Close()
	got := &response{status: answer.StatusCode, body: readBody(answer.StatusCode, answer.Body)}
	if !got.plainSuccess() {
		got.contentType = answer.Header.Get("Content-Type")
		got.retryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now)
	}
	return got, adapter.Attempt{}
}

// target returns the URL of a user, with what follows in the path and the query.
// It is built by hand: the ids come from outside, and no way of joining paths in
// net/url leaves them alone.
func (c *Client) target(accountID, userID, suffix, query string) *url.URL {
	target := escapedURL(c.scheme, c.host, c.account+escapeSegment(accountID)+"/user/"+escapeSegment(userID)+suffix)
	target.RawQuery = query
	return target
}

func (c *Client) newRequest(ctx context.Context, method string, target *url.URL, body []byte) *http.Request {
	request := &http.Request{
		Method:        method,
		URL:           target,
		Host:          c.host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        c.header, // shared: transports must not change it
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		GetBody: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(body)), nil
		},
	}
	return request.WithContext(ctx)
}

// escapedURL returns a URL whose path is sent as it is given, escaped.
func escapedURL(scheme, host, path string) *url.URL {
	target := &url.URL{Scheme: scheme, Host: host, RawPath: path}
	// net/url sends RawPath only if it is an encoding of Path.
	target.Path, _ = url.PathUnescape(path)
	return target
}

// escapeSegment escapes everything but RFC 3986's unreserved characters, so that
// an id cannot leave its place in the path. Dot segments cannot be escaped; the
// mapping rejects them.
func escapeSegment(segment string) string {
	const hex = "0123456789ABCDEF"
	escaped := 0
	for i := range len(segment) {
		if !unreserved(segment[i]) {
			escaped++
		}
	}
	if escaped == 0 {
		return segment
	}
	var b strings.Builder
	b.Grow(len(segment) + 2*escaped)
	for i := range len(segment) {
		if c := segment[i]; unreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
