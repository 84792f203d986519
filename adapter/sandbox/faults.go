package sandbox

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Faults are the faults to inject into calls of the API, whatever their path, but never into the pages. A request gets
// at most one fault, so the rates add up. Their sum is at most 1.
type Faults struct {
	// Fail lists statuses to answer with. Default: none.
	Fail []FailRule
	// BulkItems applies Fail to each input of a GraphQL call with several inputs, instead of to the call. The answer
	// has an ApiError with the status at the input's place. Default: false.
	BulkItems bool
	// Lists change the lists that such calls answer. They come beside the other faults. Default: none.
	Lists []ListRule
	// ResetRate is the share of requests, 0 to 1, whose connection is reset instead of answered. Default: 0.
	ResetRate float64
	// TimeoutRate is the share of requests, 0 to 1, that get no answer. The connection closes after TimeoutLimit,
	// unless the client gives up earlier. Default: 0.
	TimeoutRate float64
	// Lost says whether a request is processed before its reset or time-out. Default: Mixed.
	Lost When
	// Latency delays every answer after the request was processed. The client may give up meanwhile. Default: 0.
	Latency time.Duration
	// TimeoutLimit bounds a time-out. Default: 1 min.
	TimeoutLimit time.Duration
}

// When says whether a fault comes before or after the processing of a request.
type When uint8

const (
	// Mixed comes before or after processing with equal chance. A client cannot tell which.
	Mixed When = iota + 1
	// Before comes before processing: the request has no effect.
	Before
	// After comes after processing: the request has its effect, and the client does not learn of it.
	After
)

// FailRule answers a share of the requests with a status.
type FailRule struct {
	// Rate is the share of requests, 0 to 1.
	Rate float64
	// Status is the HTTP status of the answer, 300 to 599; with Page from 200 on.
	Status int
	// Page answers with a page of HTML, as a proxy does, instead of SaaSquatch's error.
	// Default: false.
	Page bool
	// RetryAfter is sent in the header Retry-After, rounded up to seconds. Default: no header.
	RetryAfter time.Duration
	// After processes the request before it fails, as real servers sometimes do. Default: the request has no effect.
	After bool
}

// ParseFail reads a rule such as "5%:503": the rate as in [ParseRate] and the status. The options "after", "html" and
// "retry-after=2s" may follow, in any order.
func ParseFail(text string) (FailRule, error) {
	rate, rest, ok := strings.Cut(text, ":")
	if !ok {
		return FailRule{}, fmt.Errorf("parse fault %q: want RATE:STATUS, such as 5%%:503", text)
	}
	var rule FailRule
	var err error
	if rule.Rate, err = ParseRate(rate); err != nil {
		return FailRule{}, fmt.Errorf("parse fault %q: %w", text, err)
	}
	options := strings.Split(rest, ":")
	if len(options[0]) != 3 {
		return FailRule{}, fmt.Errorf("parse fault %q: status %q: want three digits", text, options[0])
	}
	if rule.Status, err = strconv.Atoi(options[0]); err != nil {
		return FailRule{}, fmt.Errorf("parse fault %q: status: %w", text, err)
	}
	for _, option := range options[1:] {
		wait, isWait := strings.CutPrefix(option, "retry-after=")
		switch {
		case option == "after":
			rule.After = true
		case option == "html":
			rule.Page = true
		case isWait:
			if rule.RetryAfter, err = time.ParseDuration(wait); err != nil {
				return FailRule{}, fmt.Errorf("parse fault %q: retry-after: %w", text, err)
			}
		default:
			return FailRule{}, fmt.Errorf(
				"parse fault %q: unknown option %q: want after, html or retry-after=DURATION", text, option)
		}
	}
	if err := rule.validate(); err != nil {
		return FailRule{}, fmt.Errorf("parse fault %q: %w", text, err)
	}
	return rule, nil
}

// String writes the rule in the form that [ParseFail] reads.
func (rule FailRule) String() string {
	text := strconv.FormatFloat(rule.Rate, 'f', -1, 64) + ":" + strconv.Itoa(rule.Status)
	if rule.After {
		text += ":after"
	}
	if rule.Page {
		text += ":html"
	}
	if rule.RetryAfter != 0 {
		text += ":retry-after=" + rule.RetryAfter.String()
	}
	return text
}

// ParseRate reads a share of 0 to 1, written as "1%" or "0.01".
func ParseRate(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("rate %q: want a share such as 1%% or 0.01", text)
	}
	rate, err := strconv.ParseFloat(number, 64)
	if percent {
		rate /= 100
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("rate %q: want a share such as 1%% or 0.01", text)
	case rate > 1:
		return 0, fmt.Errorf("rate %q: want at most 100%%, or 1", text)
	}
	return rate, nil
}

func (f Faults) withDefaults() Faults {
	f.Lost = cmp.Or(f.Lost, Mixed)
	f.TimeoutLimit = cmp.Or(f.TimeoutLimit, time.Minute)
	return f
}

func (f Faults) validate() error {
	all := append(validateRules("fault", f.Fail, f.ResetRate+f.TimeoutRate), validateLists(f.Lists)...)
	if !isShare(f.ResetRate) || !isShare(f.TimeoutRate) {
		all = append(all, fmt.Errorf("faults: reset rate %v, time-out rate %v: want 0 to 1",
			f.ResetRate, f.TimeoutRate))
	}
	if f.Latency < 0 || f.TimeoutLimit < 0 {
		all = append(all, errors.New("faults: latency and time-out limit must not be negative"))
	}
	if f.Lost > After {
		all = append(all, fmt.Errorf("faults: unknown value %d of lost", f.Lost))
	}
	return errors.Join(all...)
}

// roundingError is how far the sum of decimal fractions may be off.
const roundingError = 1e-9

// validateRules checks each rule, and that their rates and others add up to at most 1.
func validateRules(what string, rules []FailRule, others float64) []error {
	var all []error
	sum := others
	for _, rule := range rules {
		if err := rule.validate(); err != nil {
			all = append(all, fmt.Errorf("%s %v: %w", what, rule, err))
		}
		sum += rule.Rate
	}
	if sum > 1+roundingError {
		all = append(all, fmt.Errorf("%ss: the rates add up to %v: want at most 1", what, sum))
	}
	return all
}

// pick returns the rule for a random number from 0 to 1, if one applies, and what the
// rules leave of the number.
func pick(rules []FailRule, u float64) (rule FailRule, ok bool, rest float64) {
	for _, rule := range rules {
		if u -= rule.Rate; u < 0 {
			return rule, true, u
		}
	}
	return FailRule{}, false, u
}

func (rule FailRule) validate() error {
	noBody := rule.Status == http.StatusNoContent || rule.Status == http.StatusNotModified
	switch {
	case !isShare(rule.Rate):
		return fmt.Errorf("rate %v: want 0 to 1", rule.Rate)
	case rule.Page && (rule.Status < 200 || rule.Status > 599 || noBody):
		return fmt.Errorf("status %d: want 200 to 599, except 204 and 304", rule.Status)
	case !rule.Page && (rule.Status < 300 || rule.Status > 599 || noBody):
		return fmt.Errorf("status %d: want 300 to 599, except 304; from 200 on with html", rule.Status)
	case rule.RetryAfter < 0:
		return fmt.Errorf("retry-after %v: must not be negative", rule.RetryAfter)
	}
	return nil
}

// isShare is false for NaN.
func isShare(rate float64) bool { return rate >= 0 && rate <= 1 }

func (rule FailRule) answer(scratch *scratch) answer {
	a := rule.apiError().answer(scratch)
	if rule.Page {
		page := fmt.Sprintf("<html><head><title>%d %s</title></head>"+
			"<body>A page injected by the sandbox.</body></html>\n", rule.Status, http.StatusText(rule.Status))
		a.content, a.contentType, a.size = strings.NewReader(page), "text/html; charset=utf-8", int64(len(page))
	}
	a.retryAfter = rule.RetryAfter
	return a
}

// apiError is the rule's error. Its rsCode is the one that SaaSquatch publishes for rate limits and internal errors,
// or empty.
func (rule FailRule) apiError() *apiError {
	e := &apiError{
		status:       rule.Status,
		message:      "A fault injected by the sandbox.",
		apiErrorCode: "INJECTED_FAULT",
	}
	switch {
	case rule.Status == http.StatusTooManyRequests:
		e.rsCode = "RS033"
	case rule.Status >= 500:
		e.rsCode = "RS014"
	}
	return e
}

// retryAfterSeconds rounds up to the seconds of the header.
func retryAfterSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

type faultKind uint8

const (
	noFault faultKind = iota
	failFault
	resetFault
	timeoutFault
)

// fault is the fault of one request, or none.
type fault struct {
	kind  faultKind
	rule  FailRule
	after bool
}

// injector decides about the faults of requests.
type injector struct {
	faults Faults
	active bool
	mu     *sync.Mutex // guards rand
	rand   *rand.Rand
}

func newInjector(faults Faults, source *rand.Rand) injector {
	if source == nil {
		source = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return injector{
		faults: faults,
		active: len(faults.Fail) > 0 || faults.ResetRate > 0 || faults.TimeoutRate > 0,
		mu:     new(sync.Mutex),
		rand:   source,
	}
}

// draw decides about one request. It takes two numbers from the random source. A bulk call gets no failure of its own
// if the failures strike its inputs.
func (in *injector) draw(bulk bool) fault {
	if !in.active {
		return fault{}
	}
	in.mu.Lock()
	u, coin := in.rand.Float64(), in.rand.Uint64()&1 == 1
	in.mu.Unlock()

	rule, ok, u := pick(in.faults.Fail, u)
	switch {
	case ok && bulk && in.faults.BulkItems:
		return fault{}
	case ok:
		return fault{kind: failFault, rule: rule, after: rule.After}
	}
	after := in.faults.Lost == After || in.faults.Lost == Mixed && coin
	if u -= in.faults.ResetRate; u < 0 {
		return fault{kind: resetFault, after: after}
	}
	if u -= in.faults.TimeoutRate; u < 0 {
		return fault{kind: timeoutFault, after: after}
	}
	return fault{}
}

// drawItem decides about one input of a bulk call. It takes one number from the random source.
func (in *injector) drawItem() fault {
	if !in.faults.BulkItems || len(in.faults.Fail) == 0 {
		return fault{}
	}
	in.mu.Lock()
	u := in.rand.Float64()
	in.mu.Unlock()
	rule, ok, _ := pick(in.faults.Fail, u)
	if !ok {
		return fault{}
	}
	return fault{kind: failFault, rule: rule, after: rule.After}
}

// reset resets the client's connection with a TCP RST. On HTTP/2 it resets the stream, since the connection cannot be
// hijacked.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	inner := conn
	if secured, ok := conn.(*tls.Conn); ok {
		inner = secured.NetConn()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // otherwise the connection closes with a FIN
	}
	_ = inner.Close()
}
