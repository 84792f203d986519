package saasquatch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Importer has SaaSquatch import files of user events, in four steps: Upload, ValidateJob, CreateJob, and Job until
// the job has ended. DownloadErrors and DownloadResults then return the result of each record. The steps are those of
// SaaSquatch's documentation of bulk imports. EventKeys, CustomFields and Segments list the names that the tenant has.
//
// Each method makes one attempt. Its errors are [*adapter.APIError] where SaaSquatch or the network is the cause. An
// Importer is safe for concurrent use.
type Importer struct {
	base *url.URL
	// here is for requests to SaaSquatch, elsewhere for files on other hosts. They need no http.Client: there are no
	// cookies, and only open follows redirects.
	here, elsewhere http.RoundTripper
	tenant          string // path up to and including the slash after the tenant alias
	authorization   []string
	secrets         secrets // in authorization
	userAgent       string
	// plain says that files may come over http.
	plain bool

	callTimeout     time.Duration
	uploadTimeout   time.Duration
	downloadTimeout time.Duration
	stallTimeout    time.Duration
}

const (
	// minCallTimeout is the least timeout of a GraphQL call. In some, SaaSquatch reads the uploaded file. A timeout of
	// CreateJob leaves it unknown whether there is a job.
	minCallTimeout = time.Minute
	// uploadTimeout bounds an upload: 100 MB in it are 1.4 Mbit/s.
	uploadTimeout = 10 * time.Minute
	// downloadTimeout bounds a download, including its reader's own work.
	downloadTimeout = time.Hour
	// stallTimeout bounds the time in which an upload or download makes no progress.
	stallTimeout = 2 * time.Minute
)

// NewImporter returns an Importer. It does not connect. It raises Options.AttemptTimeout to a minute for GraphQL
// calls. Uploads end after 10 minutes at most, downloads after an hour, and both after 2 minutes without progress.
func NewImporter(opts Options) (*Importer, error) {
	base, err := opts.complete()
	if err != nil {
		return nil, err
	}
	return &Importer{
		base:            base,
		here:            newTransport(opts.Concurrency, opts.TLS),
		elsewhere:       newTransport(opts.Concurrency, nil), // opts.TLS is for the host of SaaSquatch
		tenant:          "/api/v1/" + escapeSegment(opts.TenantAlias) + "/",
		authorization:   opts.authorization(),
		secrets:         credentialForms(opts.UserName, opts.APIKey),
		userAgent:       opts.UserAgent,
		plain:           base.Scheme == "http" && isLoopback(base.Hostname()),
		callTimeout:     max(opts.AttemptTimeout, minCallTimeout),
		uploadTimeout:   uploadTimeout,
		downloadTimeout: downloadTimeout,
		stallTimeout:    stallTimeout,
	}, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// newPost returns a POST to a path of the tenant. The caller sets the body's length.
func (i *Importer) newPost(ctx context.Context, path, contentType string, body io.ReadCloser) *http.Request {
	request := &http.Request{
		Method: http.MethodPost,
		URL:    escapedURL(i.base.Scheme, i.base.Host, i.tenant+path),
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, // else net/http ignores Expect: 100-continue
		Header: http.Header{
			"Authorization": i.authorization,
			"Content-Type":  {contentType},
			"Accept":        {"application/json"},
			"User-Agent":    {i.userAgent},
		},
		Body: body,
	}
	return request.WithContext(ctx)
}

// do makes the request. Its error is an *adapter.APIError.
func do(transport http.RoundTripper, op string, request *http.Request) (*http.Response, error) {
	var way traced
	ctx := way.trace(request.Context())
	response, err := transport.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return nil, noAnswer(ctx, op, err, way.came())
	}
	return response, nil
}

// noAnswer describes a call without an answer, or with one that breaks off.
func noAnswer(ctx context.Context, op string, err error, came phase) *adapter.APIError {
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the reason why the transport gave up
	}
	attempt := classifyError(err, came)
	return &adapter.APIError{
		Op: op, Reason: attempt.Reason, Message: attempt.Detail, Err: err,
		Retryable: true, Unprocessed: attempt.Unprocessed,
	}
}

// refusal describes an answer whose status is no success. It reads the body.
func refusal(op string, response *http.Response) *adapter.APIError {
	failure := readBody(response.StatusCode, response.Body).failure
	return failure.apiError(op, response.StatusCode, retryAfter(response.Header.Get("Retry-After"), time.Now))
}

// apiError classifies a failure with the status of a call that is not about an event.
func (e apiError) apiError(op string, status int, retryAfter time.Duration) *adapter.APIError {
	verdict := classify(status, e, false)
	if verdict.Outcome == adapter.Dead {
		verdict.Reason = mapping.ReasonRefused // the others speak of events
	}
	message := tidy(e.Message)
	if verdict.Foreign {
		message = "the answer is not SaaSquatch's: check the base URL and the proxies on the way"
	}
	return &adapter.APIError{
		Op: op, Reason: verdict.Reason, Status: status, RetryAfter: retryAfter,
		Code: tidy(e.APIErrorCode), RSCode: tidy(e.RSCode), Message: message,
		Misconfigured: verdict.Misconfigured,
		Retryable:     verdict.Outcome == adapter.Pending && !verdict.Misconfigured && !verdict.Foreign,
		Unprocessed:   verdict.Unprocessed || verdict.Outcome == adapter.Dead,
	}
}

// tidy makes SaaSquatch's text fit into one line of a report.
func tidy(text string) string {
	return cut(strings.Join(strings.Fields(printable(text)), " "))
}

// unreadable describes an answer that has the status of a success and no usable content.
func unreadable(op string, status int, why string) *adapter.APIError {
	return &adapter.APIError{
		Op: op, Reason: mapping.ReasonUnreadableAnswer, Status: status, Message: why, Retryable: true,
	}
}

// readAll reads an answer of at most limit bytes.
func readAll(ctx context.Context, op string, response *http.Response, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, noAnswer(ctx, op, err, phaseSent)
	}
	if int64(len(text)) > limit {
		return nil, unreadable(op, response.StatusCode, fmt.Sprintf("the answer is longer than %d bytes", limit))
	}
	return text, nil
}

// stalled is the cause of a cancellation for want of progress.
type stalled struct{ time.Duration }

var _ net.Error = stalled{}

func (s stalled) Error() string { return fmt.Sprintf("nothing moved for %v", s.Duration) }

// Timeout reports true.
func (stalled) Timeout() bool { return true }

// Temporary reports true.
func (stalled) Temporary() bool { return true }

// progress cancels a context after some time without progress.
type progress struct {
	cancel context.CancelCauseFunc
	after  time.Duration
	timer  *time.Timer
}

// watch returns a context that ends after timeout, or when neither moves nor rests was called for the time after. The
// caller must call end.
func watch(ctx context.Context, timeout, after time.Duration) (context.Context, *progress) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	ctx, cancel := context.WithCancelCause(ctx)
	p := &progress{after: after, cancel: func(cause error) { cancel(cause); stop() }}
	p.timer = time.AfterFunc(after, func() { cancel(stalled{after}) })
	return ctx, p
}

func (p *progress) moves() { p.timer.Reset(p.after) }
func (p *progress) rests() { p.timer.Stop() }

func (p *progress) end() {
	p.timer.Stop()
	p.cancel(nil)
}
