package webhook

import (
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

// Connection takes requests at one path.
type Connection struct {
	// Name stands in the log.
	Name string
	// Path is the URL path, beginning with a slash. With a slash at its end it is
	// the same path.
	Path        string
	Credentials Credentials
	Acceptor    adapter.Acceptor
}

// Options are a Handler's choices.
type Options struct {
	// BodyLimit bounds a body in bytes, counted after decompression. Segment's
	// batches are 4 MB by default. Default: 10 MiB.
	BodyLimit int64
	// Memory bounds what all requests that are not answered yet hold, in bytes: their
	// bodies, and an estimate of what handling them takes. A request that would exceed
	// it is answered with 503. A part of it is for bodies of up to 256 KiB, another for
	// bodies whose signature is not verified yet. Each part has room for one body of
	// BodyLimit, however small Memory is. Default: 128 MiB.
	Memory int64
	// TrustedProxies are the networks whose X-Forwarded-For is believed: the address of
	// a sender is the last one in it that is not in these networks. Default: none.
	TrustedProxies []netip.Prefix
	// MaxEvents bounds the events of a request; one with more is answered with 413.
	// Segment documents 4000 at most. Default: 10 000.
	MaxEvents int
	// Ready says why requests cannot be taken at the moment, nil if they can;
	// /readyz answers 503 then. It is asked often and must not take long. The
	// answer has the text of an error with a method Unavailable() string, and
	// nothing of any other. Default: always nil.
	Ready func() error
	// Observe is told of each answer, except those of /healthz and /readyz. Default:
	// none.
	Observe func(Request)
	// Log gets a line for each request. Requests that are refused because the store is
	// unavailable share lines beyond the first, with their number. Default: none.
	Log *zap.Logger
}

// Request is a request that was answered. Each of its fields has few values.
type Request struct {
	// Connection is the name of the connection that has the path, empty if none has.
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

// Handler answers the requests of all connections, and /healthz and /readyz. It
// never redirects, since Segment follows a redirect as a GET without the body
// and takes its success for delivery.
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

// New returns a Handler that is not ready yet. It refuses a connection without a
// credential that is not declared insecure, and paths that are in use.
func New(connections []Connection, opts Options) (*Handler, error) {
	if opts.BodyLimit <= 0 {
		opts.BodyLimit = DefaultBodyLimit
	}
	if opts.Memory <= 0 {
		opts.Memory = DefaultMemory
	}
	if opts.MaxEvents <= 0 {
		opts.MaxEvents = DefaultMaxEvents
	}
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
			errs = append(errs, fmt.Errorf("connection %s: %w", connection.Name, err))
		case !strings.HasPrefix(path, "/") || strings.ContainsAny(path, ":*?#") || path == healthPath || path == readyPath:
			errs = append(errs, fmt.Errorf("connection %s: path %q: want a path such as /segment", connection.Name, connection.Path))
		case endpoints[path] != nil:
			errs = append(errs, fmt.Errorf("connection %s: path %q is in use by connection %s", connection.Name, path, endpoints[path].Name))
		default:
			endpoints[path] = &endpoint{Connection: connection, verifier: verifier}
		}
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

// endpoint is a connection that is ready for requests.
type endpoint struct {
	Connection
	verifier *verifier
}

func (h *Handler) route(endpoints map[string]*endpoint) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.HandleMethodNotAllowed = true
	engine.UseRawPath = false
	engine.RemoteIPHeaders = []string{"X-Forwarded-For"} // not X-Real-IP, which few proxies clear
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

// countedKey is where receive notes that it has told of its answer.
const countedKey = "counted"

// count tells of the answers to senders.
func (h *Handler) count(endpoints map[string]*endpoint) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Next()
		path := strings.TrimSuffix(c.Request.URL.Path, "/")
		if path == healthPath || path == readyPath || c.GetBool(countedKey) {
			return
		}
		status, name := c.Writer.Status(), ""
		if e := endpoints[path]; e != nil {
			name = e.Name
		}
		h.observe(Request{Connection: name, Status: status, Reason: reasonOfStatus(status)})
	}
}

// CountRefused notes a request that did not reach the handler, since the server refused
// its header with this status.
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

// unavailableText returns what a sender may be told of err, or else general.
func unavailableText(err error, general string) string {
	var public unavailable
	if errors.As(err, &public) {
		return bounded(public.Unavailable())
	}
	return general
}

// ServeHTTP answers a request. It may answer before it has read the body; a server
// of package httpserver makes such an answer arrive.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.engine.ServeHTTP(w, r) }

// SetReady says whether /readyz may answer 200, which is then for Options.Ready
// to decide. Requests are taken all the same.
func (h *Handler) SetReady(ready bool) { h.started.Store(ready) }

// Panics returns how many requests have ended in a panic.
func (h *Handler) Panics() uint64 { return h.panics.Load() }

// recoverPanic keeps a fault of one request from ending the process.
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

// receive takes one request to its answer and writes its line in the log.
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
	h.observe(Request{Connection: e.Name, Status: status, Reason: request.reason}) // a reader of the line finds it counted

	switch {
	case request.unavailable != nil:
		if !h.outage.refused(h.log, request.events, answer.Message) {
			return
		}
		h.log.Error("accept events: until the store accepts events again, the log has the number of refused requests alone",
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
		zap.Int("events", request.events), zap.Int("bytes", request.bytes), zap.Duration("duration_ms", time.Since(started)))
}

// received is what the log says of a request.
type received struct {
	bytes, events int
	variant       string
	reason        Reason
	unavailable   error // of a store that takes no events at the moment
}

// refuse answers with an error.
func (r *received) refuse(err error) (status int, a answer) {
	r.reason = reasonOf(err)
	return statusOf(err), answer{Message: err.Error()}
}

func (h *Handler) accept(r *arrival, e *endpoint, request *received) (status int, a answer) {
	// What needs no body comes first: strangers are to cost little.
	if err := e.verifier.checkHeaders(r.Header); err != nil {
		return request.refuse(err)
	}
	if r.ContentLength != 0 { // Segment never signs an empty body; its sender learns the remedy below
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
		// What is wrong with a body is for those to know who may send one; only of
		// an empty one there is nothing to tell, and Segment does not sign it.
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
		return http.StatusServiceUnavailable, answer{Message: unavailableText(err, "the events could not be accepted") + "; send this request again"}
	}
	status = http.StatusOK
	if receipt.Redeliver {
		request.reason = ReasonNotDelivered
		status = http.StatusServiceUnavailable
	}
	return status, answerOf(receipt)
}

// releaseAfter gives back memory at once, or when a store that is late uses it no more.
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

// requestError is a request that is answered with a status of its own.
type requestError struct {
	status  int
	message string
	reason  Reason // empty if the status stands for one
}

func (e *requestError) Error() string { return e.message }

func refuse(status int, format string, args ...any) error {
	return &requestError{status: status, message: fmt.Sprintf(format, args...)}
}

// refuseFor is refuse for a status that stands for several reasons.
func refuseFor(reason Reason, status int, format string, args ...any) error {
	return &requestError{status: status, message: fmt.Sprintf(format, args...), reason: reason}
}

func statusOf(err error) int {
	var refused *requestError
	if errors.As(err, &refused) {
		return refused.status
	}
	return http.StatusInternalServerError
}
