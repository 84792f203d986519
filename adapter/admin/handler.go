package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"segment-saasquatch/adapter"
)

// Options are what a Handler serves.
type Options struct {
	// Operations are those of the admin API, nil if no deliveries are kept.
	Operations adapter.Operations
	// Replays are what replays need of this server, nil if no deliveries are kept.
	Replays adapter.RunStore
	// Tenants are the names of the connections' tenants in the store.
	Tenants map[string]string
	// Tokens are the bearer tokens, any of which opens the admin API. Without one
	// it is closed.
	Tokens []adapter.Secret
	// Metrics are served at /metrics.
	Metrics *Metrics
	// Log gets a line for every action. Default: none.
	Log *zap.Logger
}

// Handler serves /metrics and, under /admin/v1/, the admin API.
type Handler struct {
	engine     *gin.Engine
	operations adapter.Operations
	replays    adapter.RunStore
	tenants    map[string]string
	tokens     tokens
	log        *zap.Logger
}

// New returns a Handler.
func New(opts Options) *Handler {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	h := &Handler{operations: opts.Operations, replays: opts.Replays, tenants: opts.Tenants, tokens: newTokens(opts.Tokens), log: opts.Log}
	gin.SetMode(gin.ReleaseMode)
	h.engine = gin.New()
	h.engine.RedirectTrailingSlash = false
	h.engine.HandleMethodNotAllowed = true
	h.engine.Use(h.recoverPanic)
	h.engine.NoRoute(func(c *gin.Context) { answerError(c, http.StatusNotFound, "nothing is at this path") })
	h.engine.NoMethod(func(c *gin.Context) {
		answerError(c, http.StatusMethodNotAllowed, "this method is not allowed here")
	})
	metrics := opts.Metrics.handler()
	h.engine.GET("/metrics", func(c *gin.Context) { metrics.ServeHTTP(c.Writer, c.Request) })
	admin := h.engine.Group("/admin/v1", h.authorize)
	admin.GET("/deliveries", h.action("list", ofMany, h.list))
	admin.GET("/deliveries/:id", h.action("show", nil, h.show))
	admin.GET("/scans", h.action("scans", ofFilter, h.scans))
	admin.GET("/stats", h.action("stats", ofFilter, h.stats))
	admin.GET("/verify", h.action("verify", nil, h.verify))
	admin.POST("/redrive", h.action("redrive", ofMove, h.redrive))
	admin.POST("/purge", h.action("purge", ofChange, h.purge))
	admin.GET("/export", h.action("export", ofMany, h.export))
	h.addRuns(admin)
	return h
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.engine.ServeHTTP(w, r) }

func (h *Handler) recoverPanic(c *gin.Context) {
	defer func() {
		if cause := recover(); cause != nil {
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(cause)
			}
			h.log.Error("panic in an admin request", zap.Any("cause", cause), zap.ByteString("stack", debug.Stack()))
			if !c.Writer.Written() {
				answerError(c, http.StatusInternalServerError, "internal error: the log has the details")
			}
		}
	}()
	c.Next()
}

// tokenKey is where authorize leaves which token it was.
const tokenKey = "token"

// authorize lets those through who bring a token.
func (h *Handler) authorize(c *gin.Context) {
	if len(h.tokens) == 0 {
		answerError(c, http.StatusForbidden, "the admin API is closed: set admin.token (ADMIN_TOKEN) to open it")
		c.Abort()
		return
	}
	index := h.tokens.find(c.GetHeader("Authorization"))
	if index < 0 {
		h.log.Warn("admin request refused", zap.String("path", c.FullPath()), zap.String("remote", c.Request.RemoteAddr))
		c.Header("WWW-Authenticate", "Bearer")
		answerError(c, http.StatusUnauthorized, "want Authorization: Bearer and one of admin.token")
		c.Abort()
		return
	}
	c.Set(tokenKey, index)
}

// outcomeOf is what an action came to, for its line in the log.
type outcomeOf struct {
	fields []zap.Field
	err    error
}

// action wraps an operation that takes these parameters: it reads the query, and
// writes the line in the log.
func (h *Handler) action(name string, taken []string, operate func(*gin.Context, *query) outcomeOf) gin.HandlerFunc {
	return func(c *gin.Context) {
		q, err := parseQuery(c.Request.URL.RawQuery, taken)
		if err != nil {
			answerError(c, http.StatusBadRequest, err.Error())
			return
		}
		if hasBody(c.Request) {
			// Who writes a filter into the body must not have it overlooked.
			answerError(c, http.StatusBadRequest, "the request has a body, which nothing reads: put the parameters into the query")
			return
		}
		if h.operations == nil {
			answerError(c, http.StatusConflict, "no deliveries are kept: delivery is direct")
			return
		}
		done := operate(c, q)
		fields := append([]zap.Field{
			zap.String("action", name), zap.Strings("filter", q.names()), zap.Bool("dry_run", q.dry),
			zap.String("remote", c.Request.RemoteAddr), zap.Int("token", c.GetInt(tokenKey)),
		}, done.fields...)
		if done.err == nil {
			h.log.Info("admin action", fields...)
			return
		}
		h.log.Log(failureLevel(c, h.fail(c, done.err), done.err), "admin action", append(fields, zap.Error(done.err))...)
	}
}

// failureLevel returns the level of a failed action's line. It is an error where the
// answer does not tell the cause, and points to the log.
func failureLevel(c *gin.Context, status int, err error) zapcore.Level {
	unavailable, ok := errors.AsType[*adapter.UnavailableError](err)
	switch {
	case c.Request.Context().Err() != nil:
		return zapcore.InfoLevel // the client has gone
	case status == http.StatusInternalServerError, ok && unavailable.Err != nil:
		return zapcore.ErrorLevel
	}
	return zapcore.WarnLevel
}

// hasBody reports whether the request brings more than its head.
func hasBody(r *http.Request) bool {
	_, err := io.ReadFull(r.Body, make([]byte, 1))
	return err != io.EOF
}

// fail answers an error of an operation and returns the status.
func (h *Handler) fail(c *gin.Context, err error) int {
	status, message := http.StatusInternalServerError, "the operation failed: the server's log has the details"
	var refused *adapter.RefusedError
	switch {
	case errors.As(err, &refused):
		status, message = http.StatusUnprocessableEntity, refused.Problem
	case errors.Is(err, adapter.ErrNoDelivery):
		status, message = http.StatusNotFound, adapter.ErrNoDelivery.Error()
	}
	if busy, ok := errors.AsType[*adapter.BusyError](err); ok {
		status, message = http.StatusTooManyRequests, busy.Error()
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(busy.RetryAfter.Seconds()))))
	}
	if !c.Writer.Written() { // else it shows by the missing end
		answerError(c, status, message)
	}
	return status
}

func answerError(c *gin.Context, status int, message string) {
	c.JSON(status, map[string]string{"error": message})
}

// scansHeader tells with an answer how many deliveries were read that the filter did not
// pick. It is missing where they are few.
const scansHeader = "Deliveries-Scanned"

// noteScan sets the header. An error is left to the operation itself.
func (h *Handler) noteScan(c *gin.Context, filter adapter.Filter) {
	if scan, err := h.operations.Scans(c.Request.Context(), filter); err == nil && scan.Deliveries > 0 {
		c.Header(scansHeader, strconv.FormatInt(scan.Deliveries, 10))
	}
}

func (h *Handler) scans(c *gin.Context, q *query) outcomeOf {
	scan, err := h.operations.Scans(c.Request.Context(), q.filter)
	if err == nil {
		c.JSON(http.StatusOK, scan)
	}
	return outcomeOf{err: err}
}

func (h *Handler) list(c *gin.Context, q *query) outcomeOf {
	limit := q.limit
	switch {
	case limit == 0:
		limit = defaultLimit
	case limit > maxLimit:
		return outcomeOf{err: &adapter.RefusedError{Problem: fmt.Sprintf("a list has up to %d deliveries: use a smaller limit and before, or an export", maxLimit)}}
	}
	h.noteScan(c, q.filter)
	found, err := h.operations.List(c.Request.Context(), q.filter, limit)
	if err != nil {
		return outcomeOf{err: err}
	}
	if found == nil {
		found = []adapter.Delivery{}
	}
	c.JSON(http.StatusOK, found)
	return outcomeOf{fields: []zap.Field{zap.Int("deliveries", len(found))}}
}

func (h *Handler) show(c *gin.Context, _ *query) outcomeOf {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return outcomeOf{err: adapter.ErrNoDelivery}
	}
	delivery, err := h.operations.Show(c.Request.Context(), id)
	if err != nil {
		return outcomeOf{err: err}
	}
	c.JSON(http.StatusOK, delivery)
	return outcomeOf{fields: []zap.Field{zap.Int64("delivery", id)}}
}

func (h *Handler) stats(c *gin.Context, q *query) outcomeOf {
	h.noteScan(c, q.filter)
	stats, err := h.operations.Stats(c.Request.Context(), q.filter)
	if err != nil {
		return outcomeOf{err: err}
	}
	c.JSON(http.StatusOK, stats)
	return outcomeOf{}
}

func (h *Handler) verify(c *gin.Context, _ *query) outcomeOf {
	verified, err := h.operations.Verify(c.Request.Context())
	if err != nil {
		return outcomeOf{err: err}
	}
	c.JSON(http.StatusOK, verified)
	return outcomeOf{}
}

func (h *Handler) redrive(c *gin.Context, q *query) outcomeOf {
	h.noteScan(c, q.filter.ForRedrive(q.toTenant))
	done, err := h.operations.Redrive(c.Request.Context(), q.filter, q.limit, q.toTenant, q.dry)
	if done == nil {
		return outcomeOf{err: err}
	}
	fields := []zap.Field{zap.Int("matched", done.Matched), zap.Int("sent", done.Sent), zap.Int("duplicate", done.Duplicate)}
	if len(done.Moved) > 0 {
		fields = append(fields, zap.Any("moved", done.Moved))
	}
	if err == nil {
		c.JSON(http.StatusOK, done)
	}
	return outcomeOf{fields, err}
}

func (h *Handler) purge(c *gin.Context, q *query) outcomeOf {
	h.noteScan(c, q.filter)
	done, err := h.operations.Purge(c.Request.Context(), q.filter, q.limit, q.dry)
	if done == nil {
		return outcomeOf{err: err}
	}
	total := 0
	for _, n := range done.Purged {
		total += n
	}
	if err == nil {
		c.JSON(http.StatusOK, done)
	}
	return outcomeOf{[]zap.Field{zap.Int("purged", total)}, err}
}

// exportEnd is the last line of an export, by which a whole one is known.
type exportEnd struct {
	Exported *int `json:"exported"`
}

// export writes a delivery a line.
func (h *Handler) export(c *gin.Context, q *query) outcomeOf {
	h.noteScan(c, q.filter)
	lines := json.NewEncoder(c.Writer)
	n := 0
	c.Header("Content-Type", "application/x-ndjson")
	err := h.operations.Export(c.Request.Context(), q.filter, q.limit, func(delivery *adapter.Delivery) error {
		n++
		return lines.Encode(delivery)
	})
	if err == nil {
		err = lines.Encode(exportEnd{&n})
	}
	return outcomeOf{[]zap.Field{zap.Int("deliveries", n)}, err}
}
