package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"segment-saasquatch/adapter"
)

// Connection accepts requests at one path.
type Connection struct {
	// Name is the connection's name in the log.
	Name string
	// Path is the URL path, beginning with a slash. A slash at its end makes no difference.
	Path        string
	Credentials Credentials
	Acceptor    adapter.Acceptor
}

// Options configure a Handler.
type Options struct {
	// BodyLimit bounds a body in bytes, counted after decompression. Segment's batches are 4 MB by default. Default:
	// 10 MiB.
	BodyLimit int64
	// Memory bounds the memory of all unanswered requests, in bytes: their bodies, and an estimate of the handling. A
	// request that would exceed it gets 503. One part of it is for bodies of up to 256 KiB, another for bodies whose
	// signature is not verified yet. Each part has room for one body of BodyLimit, however small Memory is. Default:
	// 128 MiB.
	Memory int64
	// TrustedProxies are the networks whose X-Forwarded-For the Handler believes. A sender's address is the last one
	// in it outside these networks. Default: none.
	TrustedProxies []netip.Prefix
	// MaxEvents bounds the events of a request; one with more gets 413. Segment documents 4000 at most. Default: 10
	// 000.
	MaxEvents int
	// Ready returns why the process cannot accept requests at the moment, nil if it can. /readyz answers 503 with an
	// error. The Handler calls it often, so it must be fast. The answer has the text of an error with a method
	// Unavailable() string, and not of another. Default: always nil.
	Ready func() error
	// Observe gets each answered request, except those of /healthz and /readyz. Default: none.
	Observe func(Request)
	// Log gets a line for each request. Refusals for an unavailable store share lines after the first, with their
	// number. Default: none.
	Log *zap.Logger
}

// Request describes an answered request. Each of its fields has few values.
type Request struct {
	// Connection is the name of the path's connection, empty for an unknown path.
	Connection string
	// Status is the HTTP status of the answer.
	Status int
	// Reason is empty if the request was accepted.
	Reason Reason
}

// Defaults of Options.
const (
	DefaultBodyLimit = 10 << 20  // bytes
	DefaultMemory    = 128 << 20 // bytes
	DefaultMaxEvents = 10_000
)

// Handler answers the requests of all connections, and /healthz and /readyz. It never redirects: Segment follows a
// redirect with a GET without the body, and counts its success as delivery.
type Handler struct {
	engine    *gin.Engine
	started   atomic.Bool
	ready     func() error
	observe   func(Request)
	panics    atomic.Uint64
	reader    *bodyReader
	maxEvents int
	outage    outage
	log       *zap.Logger
}

// New returns a Handler that is not ready yet. It refuses a connection without a credential unless that is declared
// insecure, and a path that another connection has.
func New(connections []Connection, opts Options) (*Handler, error) {
	opts.BodyLimit = cmp.Or(max(opts.BodyLimit, 0), DefaultBodyLimit)
	opts.Memory = cmp.Or(max(opts.Memory, 0), DefaultMemory)
	opts.MaxEvents = cmp.Or(max(opts.MaxEvents, 0), DefaultMaxEvents)
	if opts.Ready == nil {
		opts.Ready = func() error { return nil }
	}
	if opts.Observe == nil {
		opts.Observe = func(Request) {}
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	h := &Handler{
		reader:    &bodyReader{limit: opts.BodyLimit, memory: newMemory(opts.Memory, opts.BodyLimit), now: time.Now},
		ready:     opts.Ready,
		observe:   opts.Observe,
		maxEvents: opts.MaxEvents,
		log:       opts.Log,
	}
	endpoints := make(map[string]*endpoint, len(connections))
	var errs []error
	for _, connection := range connections {
		path := strings.TrimSuffix(connection.Path, "/")
		verifier, err := newVerifier(connection.Credentials)
		switch {
		case err != nil:
		case !strings.HasPrefix(path, "/") || strings.ContainsAny(path, ":*?#") || isProbe(path):
			err = fmt.Errorf("path %q: want a path such as /segment", connection.Path)
		case endpoints[path] != nil:
			err = fmt.Errorf("path %q is in use by connection %s", path, endpoints[path].Name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("connection %s: %w", connection.Name, err))
			continue
		}
		endpoints[path] = &endpoint{connection, verifier}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	h.engine = h.route(endpoints)
	proxies := make([]string, len(opts.TrustedProxies))
	for i, proxy := range opts.TrustedProxies {
		proxies[i] = proxy.String()
	}
	if err := h.engine.SetTrustedProxies(proxies); err != nil {
		return nil, fmt.Errorf("trusted proxies: %w", err)
	}
	return h, nil
}

const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// isProbe reports whether a path is for orchestrators.
func isProbe(path string) bool { return path == healthPath || path == readyPath }

// endpoint is a connection with its verifier.
type endpoint struct {
	Connection
	verifier *verifier
}

// Gin's mode is one variable of the process, which it reads without a lock.
func init() { gin.SetMode(gin.ReleaseMode) }

func (h *Handler) route(endpoints map[string]*endpoint) *gin.Engine {
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.HandleMethodNotAllowed = true
	engine.UseRawPath = false
	engine.RemoteIPHeaders = []string{"X-Forwarded-For"} // few proxies clear X-Real-IP
	engine.Use(h.count(endpoints), h.recoverPanic)
	engine.NoRoute(func(c *gin.Context) { answerMessage(c, http.StatusNotFound, "no webhook at this path") })
	engine.NoMethod(func(c *gin.Context) {
		answerMessage(c, http.StatusMethodNotAllowed, "method "+bounded(c.Request.Method)+" is not allowed here: "+
			"this path takes "+c.Writer.Header().Get("Allow")) // which Gin sets
	})
	for path, e := range endpoints {
		handle(engine, eventMethods, path, func(c *gin.Context) { h.receive(c, e) })
		handle(engine, eventMethods, path+"/", func(c *gin.Context) { h.receive(c, e) })
	}
	handle(engine, healthMethods, healthPath, func(c *gin.Context) { answerMessage(c, http.StatusOK, "alive") })
	handle(engine, healthMethods, readyPath, h.answerReady)
	return engine
}

var (
	eventMethods  = []string{http.MethodPost, http.MethodPut, http.MethodPatch}
	healthMethods = []string{http.MethodGet, http.MethodHead}
)

// handle routes the methods of a path to one handler, and answers OPTIONS.
func handle(engine *gin.Engine, methods []string, path string, handler gin.HandlerFunc) {
	for _, method := range methods {
		engine.Handle(method, path, handler)
	}
	allow := strings.Join(append(slices.Clone(methods), http.MethodOptions), ", ")
	engine.OPTIONS(path, func(c *gin.Context) {
		c.Header("Allow", allow)
		c.AbortWithStatus(http.StatusNoContent)
	})
}

// countedKey is the key of the context by which receive marks an answer that it has counted.
const countedKey = "counted"

// count reports the answers to Observe, except those that receive has reported.
func (h *Handler) count(endpoints map[string]*endpoint) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Next()
		path := strings.TrimSuffix(c.Request.URL.Path, "/")
		if isProbe(path) || c.GetBool(countedKey) {
			return
		}
		status, name := c.Writer.Status(), ""
		if e := endpoints[path]; e != nil {
			name = e.Name
		}
		h.observe(Request{Connection: name, Status: status, Reason: reasonByStatus[status]})
	}
}

// CountRefused counts a request whose header the server refused with this status before the Handler got it.
func (h *Handler) CountRefused(status int) {
	h.observe(Request{Status: status, Reason: ReasonMalformedRequest})
}

func (h *Handler) answerReady(c *gin.Context) {
	if !h.started.Load() {
		answerMessage(c, http.StatusServiceUnavailable, "not ready")
		return
	}
	if err := h.ready(); err != nil {
		answerMessage(c, http.StatusServiceUnavailable, unavailableText(err, "not ready"))
		return
	}
	answerMessage(c, http.StatusOK, "ready")
}

// unavailable is an error with a text for the sender.
type unavailable interface{ Unavailable() string }

// unavailableText returns the text of err for senders, or general if it has none.
func unavailableText(err error, general string) string {
	var public unavailable
	if errors.As(err, &public) {
		return bounded(public.Unavailable())
	}
	return general
}

// ServeHTTP answers a request. It may answer before it has read the body; a server of package httpserver makes such an
// answer arrive.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.engine.ServeHTTP(w, r) }

// SetReady sets whether /readyz asks Options.Ready; before, it answers 503. The Handler accepts events in either case.
func (h *Handler) SetReady(ready bool) { h.started.Store(ready) }

// Panics returns how many requests have ended in a panic.
func (h *Handler) Panics() uint64 { return h.panics.Load() }

// recoverPanic keeps a panic in one request from ending the process.
func (h *Handler) recoverPanic(c *gin.Context) {
	defer func() {
		if cause := recover(); cause != nil {
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(cause)
			}
			h.panics.Add(1)
			h.log.Error("panic in a request", zap.Any("cause", cause), zap.ByteString("stack", debug.Stack()))
			if !c.Writer.Written() {
				answerMessage(c, http.StatusInternalServerError, "internal error: send this request again")
			}
		}
	}()
	c.Next()
}

// receive answers one request and writes its line in the log.
func (h *Handler) receive(c *gin.Context, e *endpoint) {
	started := time.Now()
	request := received{}
	// A proxy may add a header line of its own, and Gin reads the first one only.
	if forwarded := c.Request.Header["X-Forwarded-For"]; len(forwarded) > 1 {
		c.Request.Header.Set("X-Forwarded-For", strings.Join(forwarded, ","))
	}
	remote := c.ClientIP()
	address, _ := netip.ParseAddr(remote) // invalid for a connection that has no address
	status, answer := h.accept(&arrival{
		Request: c.Request, connection: http.NewResponseController(c.Writer), remote: address,
	}, e, &request)
	left := c.Request.Context().Err() != nil
	if left && (request.reason == "" || request.reason == ReasonNotDelivered) {
		request.reason = ReasonSenderLeft
	}
	answerJSON(c, status, answer)
	c.Set(countedKey, true)
	// Before the line in the log, so that a reader of the line finds the request counted.
	h.observe(Request{Connection: e.Name, Status: status, Reason: request.reason})

	switch {
	case request.unavailable != nil:
		if !h.outage.refused(h.log, request.events, answer.Message) {
			return
		}
		h.log.Error("accept events: until the store accepts events again, "+
			"the log has only the number of refused requests",
			zap.String("connection", e.Name), zap.Error(request.unavailable))
	case status == http.StatusOK:
		h.outage.accepted(h.log)
	}
	level := zap.InfoLevel
	if status != http.StatusOK || left {
		level = zap.WarnLevel
	}
	h.log.Log(level, "request",
		zap.String("connection", e.Name), zap.String("remote", remote),
		zap.String("method", c.Request.Method), zap.Int("status", status),
		zap.String("reason", string(request.reason)), zap.Bool("sender_left", left),
		zap.String("message", answer.Message), zap.String("verified_by", request.variant),
		zap.Int("events", request.events), zap.Int("bytes", request.bytes),
		zap.Duration("duration_ms", time.Since(started)))
}

// received is a request's part of its line in the log.
type received struct {
	bytes, events int
	variant       string
	reason        Reason
	unavailable   error // of a store that takes no events at the moment
}

// refuse returns the answer for an error.
func (r *received) refuse(err error) (status int, a answer) {
	r.reason = reasonOf(err)
	return statusOf(err), answer{Message: err.Error()}
}

func (h *Handler) accept(r *arrival, e *endpoint, request *received) (status int, a answer) {
	// Checks that need no body come first, so that senders without a credential cost little.
	if err := e.verifier.checkHeaders(r.Header); err != nil {
		return request.refuse(err)
	}
	if r.ContentLength != 0 { // Segment never signs an empty body, whose error has the remedy
		if err := e.verifier.checkSigned(r.Header); err != nil {
			return request.refuse(err)
		}
	}
	r.vouches = e.verifier.vouching(r.Header)
	body, err := h.reader.read(r)
	if err != nil {
		return request.refuse(err)
	}
	var late *adapter.LateError // the store still uses the body
	defer func() { releaseAfter(late, func() { h.reader.release(body) }) }()
	request.bytes = len(body.bytes)

	events, err := split(body.bytes, h.maxEvents)
	if len(body.bytes) > 0 && (err == nil || statusOf(err) != http.StatusRequestEntityTooLarge) {
		// Only authenticated senders see parse errors. An empty body is the exception: its error tells nothing, and
		// Segment does not sign it.
		var refused error
		if request.variant, refused = e.verifier.checkBody(r.Header, body.bytes, events); refused != nil {
			return request.refuse(refused)
		}
	}
	if err != nil {
		return request.refuse(err)
	}
	request.events = len(events.elements)
	done, err := h.reader.memory.handle(r.Context(), body, len(events.elements))
	if err != nil {
		return request.refuse(err)
	}
	defer func() { releaseAfter(late, done) }()
	receipt, err := e.Acceptor.Accept(r.Context(), events.elements)
	if err != nil {
		late, _ = errors.AsType[*adapter.LateError](err)
		if errors.As(err, new(unavailable)) {
			request.unavailable = err
		} else {
			h.log.Error("accept events", zap.String("connection", e.Name), zap.Error(err))
		}
		request.reason = ReasonStoreUnavailable
		text := unavailableText(err, "the events could not be accepted")
		return http.StatusServiceUnavailable, answer{Message: text + "; send this request again"}
	}
	if receipt.Redeliver {
		request.reason = ReasonNotDelivered
		return http.StatusServiceUnavailable, answerOf(receipt)
	}
	return http.StatusOK, answerOf(receipt)
}

// releaseAfter releases memory at once, or once a late store no longer uses it.
func releaseAfter(late *adapter.LateError, release func()) {
	if late == nil {
		release()
		return
	}
	go func() { // ends with the store's transaction
		<-late.Done
		release()
	}()
}

// requestError refuses a request with a status of its own.
type requestError struct {
	status  int
	message string
	reason  Reason // empty for that of the status
}

func (e *requestError) Error() string { return e.message }

func refuse(status int, format string, args ...any) error {
	return refuseFor("", status, format, args...)
}

// refuseFor is refuse for a status that has several reasons.
func refuseFor(reason Reason, status int, format string, args ...any) error {
	return &requestError{status: status, message: fmt.Sprintf(format, args...), reason: reason}
}

func statusOf(err error) int {
	if refused, ok := errors.AsType[*requestError](err); ok {
		return refused.status
	}
	return http.StatusInternalServerError
}
