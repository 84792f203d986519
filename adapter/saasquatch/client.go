// Package saasquatch makes single requests to SaaSquatch's REST and GraphQL APIs and classifies the answers. It knows
// nothing of retries.
//
// A [Client] delivers events and user upserts, one by one or up to [adapter.MaxBulk] in a call. An [Importer] has
// SaaSquatch import files of events, and reads the results.
package saasquatch

import (
	"bytes"
	"cmp"
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

// Options describe a tenant and the connections to it.
type Options struct {
	// BaseURL is scheme and host. Default: DefaultBaseURL.
	BaseURL string
	// TenantAlias names the tenant; aliases of test tenants start with test_.
	TenantAlias string
	// APIKey is the password of HTTP Basic authentication.
	APIKey adapter.Secret
	// UserName is the user name of HTTP Basic authentication. Only impact.com's AccountSID:AuthToken has one. Default:
	// empty.
	UserName string
	// Concurrency sizes the connection pool. Default: adapter.DefaultConcurrency.
	Concurrency int
	// AttemptTimeout bounds a request from start to the end of the answer's body. Default: 10 s, as in SaaSquatch's
	// Java SDK.
	AttemptTimeout time.Duration
	// UserAgent names this program.
	UserAgent string
	// TLS is the configuration of connections to a private host. Default: the roots of the system.
	TLS *tls.Config
}

// Client makes requests for one tenant. It is safe for concurrent use.
type Client struct {
	// transport needs no http.Client: there are no cookies, and the Client follows no redirect.
	transport http.RoundTripper
	scheme    string
	host      string
	account   string // path up to and including the slash before the accountId
	graphQL   string // path of GraphQL
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
	tenant := "/api/v1/" + escapeSegment(opts.TenantAlias)
	return &Client{
		transport: newTransport(opts.Concurrency, opts.TLS),
		scheme:    base.Scheme,
		host:      base.Host,
		account:   tenant + "/open/account/",
		graphQL:   tenant + "/graphql",
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

// item is an event or an upsert of a request.
type item struct {
	accountID, userID string
	body              []byte
	// eventKey is not hidden, although it is a value of the body.
	eventKey string
	// keyed: the event has an idempotency key.
	keyed bool
}

func eventItem(event *mapping.UserEvent) item {
	return item{
		accountID: event.AccountID, userID: event.UserID, body: event.Body, eventKey: event.Key,
		keyed: event.IdempotencyKey != "",
	}
}

func upsertItem(upsert *mapping.UserUpsert) item {
	return item{accountID: upsert.AccountID, userID: upsert.UserID, body: upsert.Body}
}

// Track makes one Track User Event call.
func (c *Client) Track(ctx context.Context, event *mapping.UserEvent) adapter.Attempt {
	item := eventItem(event)
	return c.attempt(ctx, http.MethodPost, c.target(&item, "/events", ""), item, classify)
}

// Upsert makes one User Upsert call, which creates the user and its account if they are missing. It is idempotent: a
// pending one can be repeated at any time, though its Attempt tells, as an event's does, whether SaaSquatch may have
// processed it.
func (c *Client) Upsert(ctx context.Context, upsert *mapping.UserUpsert) adapter.Attempt {
	// Only the status of the answer counts. By SaaSquatch's API definition fields picks the members of the answer, so
	// that SaaSquatch need not make share links.
	item := upsertItem(upsert)
	return c.attempt(ctx, http.MethodPut, c.target(&item, "", "fields=id,accountId"), item, classifyUpsert)
}

// classifier is the classification of an answer with a status that is no plain success.
type classifier func(status int, failure apiError, keyed bool) adapter.Attempt

// response is the part of an answer that counts.
type response struct {
	status      int
	contentType string
	body        answerBody
	retryAfter  time.Duration
}

// succeeded reports whether the status is 2xx.
func succeeded(status int) bool { return 200 <= status && status <= 299 }

// plainSuccess reports whether SaaSquatch has taken the request. The status alone does not say so: proxies answer 200
// with pages of their own, and gateways with an error. If the body is empty or broke off, only the status counts.
func (r *response) plainSuccess() bool {
	return succeeded(r.status) && r.body.form != formOther && !r.body.failure.stated
}

// countedStatus returns the status by which an answer counts: that of HTTP, or the one that SaaSquatch's error object
// states in a 2xx.
func (r *response) countedStatus() int {
	if !succeeded(r.status) {
		return r.status
	}
	return cmp.Or(r.body.failure.status(), noStatus)
}

// noStatus: an answer states no status, so it is unknown whether SaaSquatch has processed the request.
const noStatus = -1

// judge classifies an answer that is no plain success by a status, which may be noStatus.
func (r *response) judge(status int, classify classifier, keyed bool, private *mask) adapter.Attempt {
	attempt := adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonUnexpectedAnswer}
	failure := &r.body.failure
	if status != noStatus {
		attempt = classify(status, *failure, keyed)
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

// attempt makes one request about an item and classifies its answer. The detail hides private texts.
func (c *Client) attempt(
	ctx context.Context, method string, target *url.URL, sent item, classify classifier,
) adapter.Attempt {
	ctx, cancel := c.within(ctx)
	defer cancel()
	answer, failed := c.send(ctx, method, target, singleBody(sent.body))
	if answer == nil {
		return failed
	}
	defer answer.Body.Close()
	got := &response{status: answer.StatusCode, body: readBody(answer.StatusCode, answer.Body)}
	if got.plainSuccess() {
		return adapter.Attempt{Outcome: adapter.Delivered, Status: got.status}
	}
	got.keepHeader(answer)
	return got.judge(got.countedStatus(), classify, sent.keyed, &mask{items: []item{sent}, secrets: c.secrets})
}

// keepHeader keeps the part of an answer's header that counts.
func (r *response) keepHeader(answer *http.Response) {
	r.contentType = answer.Header.Get("Content-Type")
	r.retryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now)
}

// send makes a request. If there is no answer, failed is the result.
func (c *Client) send(
	ctx context.Context, method string, target *url.URL, body requestBody,
) (answer *http.Response, failed adapter.Attempt) {
	// A transport's errors have no common type for failures before a connection is ready: in dialling, in TLS, by a
	// proxy that refuses, in the wait for a free one.
	var way traced
	ctx = way.trace(ctx)
	answer, err := c.transport.RoundTrip(c.newRequest(ctx, method, target, body))
	if err != nil {
		return nil, classifyError(err, way.came())
	}
	return answer, adapter.Attempt{}
}

// within returns a context that bounds a request. A caller that allows no more time than that has one already.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= c.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// target returns the URL of a user, with a suffix of the path and a query. It is built by hand: the ids come from
// outside, and each function of net/url that joins paths changes them.
func (c *Client) target(of *item, suffix, query string) *url.URL {
	path := c.account + escapeSegment(of.accountID) + "/user/" + escapeSegment(of.userID) + suffix
	target := escapedURL(c.scheme, c.host, path)
	target.RawQuery = query
	return target
}

// requestBody is the body of a request, which net/http may read more than once.
type requestBody interface {
	reader() io.Reader
	size() int64
}

// singleBody is the body of one item.
type singleBody []byte

func (b singleBody) reader() io.Reader { return bytes.NewReader(b) }
func (b singleBody) size() int64       { return int64(len(b)) }

func (c *Client) newRequest(ctx context.Context, method string, target *url.URL, body requestBody) *http.Request {
	request := &http.Request{
		Method:        method,
		URL:           target,
		Header:        c.header, // shared: transports must not change it
		Body:          io.NopCloser(body.reader()),
		ContentLength: body.size(),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(body.reader()), nil },
	}
	return request.WithContext(ctx)
}

// escapedURL returns a URL with an escaped path, which requests send unchanged.
func escapedURL(scheme, host, path string) *url.URL {
	target := &url.URL{Scheme: scheme, Host: host, RawPath: path}
	// net/url sends RawPath only if it is an encoding of Path.
	target.Path, _ = url.PathUnescape(path)
	return target
}

// escapeSegment escapes everything but RFC 3986's unreserved characters, so that an id cannot leave its place in the
// path. Dot segments cannot be escaped; the mapping rejects them.
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
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}
