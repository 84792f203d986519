package admin

import (
	"cmp"
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
	// Operations carries out the admin API's operations on deliveries. It is nil if no deliveries are kept.
	Operations adapter.Operations
	// Replays stores what a replay sends. It is nil if no deliveries are kept.
	Replays adapter.RunStore
	// Tenants has the name of each connection's tenant in the store.
	Tenants map[string]string
	// Tokens are the bearer tokens. Any one opens the admin API; without tokens it is closed.
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

// Gin's mode is one variable of the process, which it reads without a lock.
func init() { gin.SetMode(gin.ReleaseMode) }

// New returns a Handler.
func New(opts Options) *Handler {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	h := &Handler{
		operations: opts.Operations, replays: opts.Replays, tenants: opts.Tenants, tokens: newTokens(opts.Tokens),
		log: opts.Log,
	}
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

// tokenKey is the key of the context under which authorize leaves the index of the token.
const tokenKey = "token"

// authorize lets requests with a valid token pass.
func (h *Handler) authorize(c *gin.Context) {
	if len(h.tokens) == 0 {
		answerError(c, http.StatusForbidden, "the admin API is closed: set admin.token (ADMIN_TOKEN) to open it")
		c.Abort()
		return
	}
	index := h.tokens.find(c.GetHeader("Authorization"))
	if index < 0 {
		h.log.Warn("admin request refused", zap.String("path", c.FullPath()),
			zap.String("remote", c.Request.RemoteAddr))
		c.Header("WWW-Authenticate", "Bearer")
		answerError(c, http.StatusUnauthorized, "want Authorization: Bearer and one of admin.token")
		c.Abort()
		return
	}
	c.Set(tokenKey, index)
}

// operation carries out a request. It returns the answer, nil if it has written one itself, and fields for the line in
// the log. It may return fields with an error.
type operation func(*gin.Context, *query) (answer any, fields []zap.Field, err error)

// action wraps an operation that takes these parameters: it reads the query, answers, and writes the line in the log.
func (h *Handler) action(name string, taken []string, operate operation) gin.HandlerFunc {
	return func(c *gin.Context) {
		q, err := parseQuery(c.Request.URL.RawQuery, taken)
		if err != nil {
			answerError(c, http.StatusBadRequest, err.Error())
			return
		}
		if hasBody(c.Request) { // perhaps a filter
			answerError(c, http.StatusBadRequest,
				"the request has a body, which nothing reads: put the parameters into the query")
			return
		}
		if h.operations == nil {
			answerError(c, http.StatusConflict, notKept)
			return
		}
		answer, fields, err := operate(c, q)
		fields = append([]zap.Field{
			zap.String("action", name), zap.Strings("filter", q.names()), zap.Bool("dry_run", q.dry),
			zap.String("remote", c.Request.RemoteAddr), zap.Int("token", c.GetInt(tokenKey)),
		}, fields...)
		if err != nil {
			h.log.Log(failureLevel(c, fail(c, err), err), "admin action", append(fields, zap.Error(err))...)
			return
		}
		if answer != nil {
			c.JSON(http.StatusOK, answer)
		}
		h.log.Info("admin action", fields...)
	}
}

const notKept = "no deliveries are kept: delivery is direct"

// failureLevel returns the level of a failed action's line. It is an error where the answer does not tell the cause.
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

// hasBody reports whether the request has a body.
func hasBody(r *http.Request) bool {
	_, err := io.ReadFull(r.Body, make([]byte, 1))
	return err != io.EOF
}

// statusByError has the status of the errors whose text is the answer. The client finds the error by both.
var statusByError = map[error]int{
	adapter.ErrNoDelivery: http.StatusNotFound,
	adapter.ErrNoRun:      http.StatusNotFound,
	adapter.ErrRunTaken:   http.StatusConflict,
}

// fail answers an error of an operation on deliveries and returns the status.
func fail(c *gin.Context, err error) int {
	if busy, ok := errors.AsType[*adapter.BusyError](err); ok {
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(busy.RetryAfter.Seconds()))))
		return answerFailure(c, http.StatusTooManyRequests, busy.Error())
	}
	return failAny(c, err)
}

// failAny answers an error of any operation and returns the status.
func failAny(c *gin.Context, err error) int {
	if refused, ok := errors.AsType[*adapter.RefusedError](err); ok {
		return answerFailure(c, http.StatusUnprocessableEntity, refused.Problem)
	}
	for known, status := range statusByError {
		if errors.Is(err, known) {
			return answerFailure(c, status, known.Error())
		}
	}
	return answerFailure(c, http.StatusInternalServerError, "the operation failed: the server's log has the details")
}

// answerFailure answers unless an answer has begun. The client knows a broken-off answer by its missing end.
func answerFailure(c *gin.Context, status int, message string) int {
	if !c.Writer.Written() {
		answerError(c, status, message)
	}
	return status
}

func answerError(c *gin.Context, status int, message string) {
	c.JSON(status, map[string]string{"error": message})
}

// scansHeader is the header with the number of deliveries that an operation read although the filter does not pick
// them. It is missing where they are few.
const scansHeader = "Deliveries-Scanned"

// noteScan sets the header. It leaves an error to the operation itself.
func (h *Handler) noteScan(c *gin.Context, filter adapter.Filter) {
	if scan, err := h.operations.Scans(c.Request.Context(), filter); err == nil && scan.Deliveries > 0 {
		c.Header(scansHeader, strconv.FormatInt(scan.Deliveries, 10))
	}
}

func (h *Handler) scans(c *gin.Context, q *query) (any, []zap.Field, error) {
	scan, err := h.operations.Scans(c.Request.Context(), q.filter)
	return scan, nil, err
}

func (h *Handler) list(c *gin.Context, q *query) (any, []zap.Field, error) {
	limit := cmp.Or(q.limit, defaultLimit)
	if limit > maxLimit {
		return nil, nil, &adapter.RefusedError{Problem: fmt.Sprintf(
			"a list has up to %d deliveries: use a smaller limit and before, or an export", maxLimit)}
	}
	h.noteScan(c, q.filter)
	found, err := h.operations.List(c.Request.Context(), q.filter, limit)
	if err != nil {
		return nil, nil, err
	}
	return orEmpty(found), []zap.Field{zap.Int("deliveries", len(found))}, nil
}

// orEmpty returns the list, whose JSON is never null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (h *Handler) show(c *gin.Context, _ *query) (any, []zap.Field, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return nil, nil, adapter.ErrNoDelivery
	}
	delivery, err := h.operations.Show(c.Request.Context(), id)
	if err != nil {
		return nil, nil, err
	}
	return delivery, []zap.Field{zap.Int64("delivery", id)}, nil
}

func (h *Handler) stats(c *gin.Context, q *query) (any, []zap.Field, error) {
	h.noteScan(c, q.filter)
	stats, err := h.operations.Stats(c.Request.Context(), q.filter)
	return stats, nil, err
}

func (h *Handler) verify(c *gin.Context, _ *query) (any, []zap.Field, error) {
	verified, err := h.operations.Verify(c.Request.Context())
	return verified, nil, err
}

func (h *Handler) redrive(c *gin.Context, q *query) (any, []zap.Field, error) {
	h.noteScan(c, q.filter.ForRedrive(q.toTenant))
	done, err := h.operations.Redrive(c.Request.Context(), q.filter, q.limit, q.toTenant, q.dry)
	if done == nil {
		return nil, nil, err
	}
	fields := []zap.Field{
		zap.Int("matched", done.Matched), zap.Int("sent", done.Sent), zap.Int("duplicate", done.Duplicate),
	}
	if len(done.Moved) > 0 {
		fields = append(fields, zap.Any("moved", done.Moved))
	}
	return done, fields, err
}

func (h *Handler) purge(c *gin.Context, q *query) (any, []zap.Field, error) {
	h.noteScan(c, q.filter)
	done, err := h.operations.Purge(c.Request.Context(), q.filter, q.limit, q.dry)
	if done == nil {
		return nil, nil, err
	}
	total := 0
	for _, n := range done.Purged {
		total += n
	}
	return done, []zap.Field{zap.Int("purged", total)}, err
}

// export writes one delivery a line.
func (h *Handler) export(c *gin.Context, q *query) (any, []zap.Field, error) {
	h.noteScan(c, q.filter)
	n, err := answerLines(c, func(write func(any) error) error {
		return h.operations.Export(c.Request.Context(), q.filter, q.limit,
			func(delivery *adapter.Delivery) error { return write(delivery) })
	})
	return nil, []zap.Field{zap.Int("deliveries", n)}, err
}

// exportEnd is the last line of an export. An export without it is incomplete.
type exportEnd struct {
	Exported *int `json:"exported"`
}

// answerLines answers with the values that each writes, one a line, and at the end with their number.
func answerLines(c *gin.Context, each func(write func(any) error) error) (lines int, err error) {
	c.Header("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(c.Writer)
	err = each(func(value any) error {
		lines++
		return encoder.Encode(value)
	})
	if err == nil {
		err = encoder.Encode(exportEnd{&lines})
	}
	return lines, err
}
