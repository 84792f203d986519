package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"segment-saasquatch/adapter"
)

// What travels between a replay and the server whose store it uses.
type (
	// runAnswer is a run, with the token by which its owner is known.
	runAnswer struct {
		Run     *adapter.Run             `json:"run"`
		Owner   int64                    `json:"owner,string"` // more digits than a JSON number is sure to keep
		Objects []adapter.ObjectProgress `json:"objects,omitempty"`
	}
	// ownerRequest is a request by the owner of a run.
	ownerRequest struct {
		Owner int64          `json:"owner,string"`
		Batch *adapter.Batch `json:"batch,omitempty"`
	}
	// knownRequest asks for the fate of events.
	knownRequest struct {
		Arrivals []adapter.Arrival `json:"arrivals"`
	}
	// identifiesRequest asks for identify calls that are newer.
	identifiesRequest struct {
		Queries []adapter.IdentifyQuery `json:"queries"`
	}
	// failureLine is an event that is dead or rejected, or the number of those without a
	// payload.
	failureLine struct {
		Payload []byte `json:"payload"`
		Missing int64  `json:"missing,omitempty"`
	}
)

// maxRunBody bounds the body of a replay's request, in bytes: as many of the
// longest lines as fit, written in base64.
const maxRunBody = 64 << 20

// addRuns adds what a replay needs of the server.
func (h *Handler) addRuns(admin *gin.RouterGroup) {
	admin.GET("/runs", h.runAction("list runs", audited, h.listRuns))
	admin.POST("/runs", h.runAction("begin run", audited, h.beginRun))
	admin.POST("/runs/known", h.runAction("look up events", frequent, h.known))
	admin.POST("/runs/identifies", h.runAction("look up identify calls", frequent, h.identifies))
	admin.GET("/runs/:id", h.runAction("show run", frequent, h.showRun))
	admin.POST("/runs/:id/take", h.runAction("take run", audited, h.takeRun))
	admin.POST("/runs/:id/batch", h.runAction("accept batch", frequent, h.acceptBatch))
	admin.GET("/runs/:id/state", h.runAction("run state", frequent, h.runState))
	admin.POST("/runs/:id/end", h.runAction("end run", audited, h.endRun))
	admin.GET("/runs/:id/failures", h.runAction("run failures", audited, h.failures))
}

// Whether an action that succeeds has a line in the log. A replay makes frequent ones
// many times a second. One that fails always has a line.
const (
	audited  = true
	frequent = false
)

// runAction wraps an operation on runs.
func (h *Handler) runAction(name string, audit bool, operate func(*gin.Context) (id int64, err error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		if h.replays == nil {
			answerError(c, http.StatusConflict, "no deliveries are kept: delivery is direct")
			return
		}
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxRunBody)
		id, err := operate(c)
		fields := []zap.Field{
			zap.String("action", name), zap.Int64("run", id),
			zap.String("remote", c.Request.RemoteAddr), zap.Int("token", c.GetInt(tokenKey)),
		}
		switch {
		case err != nil:
			status := h.failRun(c, err)
			h.log.Log(failureLevel(c, status, err), "admin action", append(fields, zap.Int("status", status), zap.Error(err))...)
		case audit:
			h.log.Info("admin action", fields...)
		}
	}
}

// failRun answers an error of an operation on runs and returns the status.
func (h *Handler) failRun(c *gin.Context, err error) int {
	status, message := http.StatusInternalServerError, "the operation failed: the server's log has the details"
	var unavailable *adapter.UnavailableError
	var bad *badRequestError
	var refused *adapter.RefusedError
	switch {
	case errors.As(err, &refused):
		status, message = http.StatusUnprocessableEntity, refused.Problem
	case errors.As(err, &bad):
		status, message = http.StatusBadRequest, bad.Error()
	case errors.As(err, &unavailable):
		status, message = http.StatusServiceUnavailable, unavailable.Unavailable()
	case errors.Is(err, adapter.ErrNoRun):
		status, message = http.StatusNotFound, adapter.ErrNoRun.Error()
	case errors.Is(err, adapter.ErrRunTaken):
		status, message = http.StatusConflict, adapter.ErrRunTaken.Error()
	}
	if !c.Writer.Written() {
		answerError(c, status, message)
	}
	return status
}

// badRequestError is a request that no replay sends.
type badRequestError struct{ problem string }

func (e *badRequestError) Error() string { return e.problem }

// readJSON reads the body of a request.
func readJSON(c *gin.Context, value any) error {
	if err := json.NewDecoder(c.Request.Body).Decode(value); err != nil {
		return &badRequestError{fmt.Sprintf("the body cannot be read as JSON: %v", err)}
	}
	return nil
}

// run returns the run that the request names.
func (h *Handler) run(c *gin.Context) (*adapter.Run, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return nil, adapter.ErrNoRun
	}
	return &adapter.Run{ID: id}, nil
}

// ownRun reads a request by the owner of a run.
func (h *Handler) ownRun(c *gin.Context) (*adapter.Run, *adapter.Batch, error) {
	var request ownerRequest
	if err := readJSON(c, &request); err != nil {
		return nil, nil, err
	}
	run, err := h.run(c)
	if err != nil {
		return nil, nil, err
	}
	run.Owner = request.Owner
	return run, request.Batch, nil
}

func (h *Handler) listRuns(c *gin.Context) (int64, error) {
	runs, err := h.replays.Runs(c.Request.Context())
	if err != nil {
		return 0, err
	}
	if runs == nil {
		runs = []adapter.Run{}
	}
	c.JSON(http.StatusOK, runs)
	return 0, nil
}

// tenant returns the tenant of the connection that the request names.
func (h *Handler) tenant(c *gin.Context) (connection, tenant string, err error) {
	connection = c.Query("connection")
	tenant, ok := h.tenants[connection]
	if !ok {
		return "", "", &badRequestError{fmt.Sprintf("connection %.60q is not one of this server's", connection)}
	}
	return connection, tenant, nil
}

func (h *Handler) beginRun(c *gin.Context) (int64, error) {
	connection, tenant, err := h.tenant(c)
	if err != nil {
		return 0, err
	}
	var spec json.RawMessage
	if err := readJSON(c, &spec); err != nil {
		return 0, err
	}
	run, err := h.replays.BeginRun(c.Request.Context(), connection, tenant, spec)
	if err != nil {
		return 0, err
	}
	c.JSON(http.StatusOK, runAnswer{Run: run, Owner: run.Owner})
	return run.ID, nil
}

func (h *Handler) takeRun(c *gin.Context) (int64, error) {
	asked, err := h.run(c)
	if err != nil {
		return 0, err
	}
	run, objects, err := h.replays.TakeRun(c.Request.Context(), asked.ID)
	if err != nil {
		return asked.ID, err
	}
	c.JSON(http.StatusOK, runAnswer{Run: run, Owner: run.Owner, Objects: objects})
	return run.ID, nil
}

func (h *Handler) showRun(c *gin.Context) (int64, error) {
	asked, err := h.run(c)
	if err != nil {
		return 0, err
	}
	run, objects, err := h.replays.Run(c.Request.Context(), asked.ID)
	if err != nil {
		return asked.ID, err
	}
	c.JSON(http.StatusOK, runAnswer{Run: run, Objects: objects})
	return run.ID, nil
}

// acceptBatch stores a batch and answers with it, without the payloads.
func (h *Handler) acceptBatch(c *gin.Context) (int64, error) {
	run, batch, err := h.ownRun(c)
	if err != nil {
		return 0, err
	}
	if batch == nil || batch.Held {
		return run.ID, &badRequestError{"the request has no batch, or one for an import job, which needs the store itself"}
	}
	if err := h.replays.AcceptBatch(c.Request.Context(), run, batch); err != nil {
		return run.ID, err
	}
	fates := make([]adapter.Tally, len(batch.Arrivals))
	for i := range batch.Arrivals {
		fates[i] = adapter.Tally{Outcome: batch.Arrivals[i].Outcome, Reason: batch.Arrivals[i].Reason, Events: 1}
	}
	c.JSON(http.StatusOK, fates)
	return run.ID, nil
}

func (h *Handler) runState(c *gin.Context) (int64, error) {
	run, err := h.run(c)
	if err != nil {
		return 0, err
	}
	state, err := h.replays.RunState(c.Request.Context(), run)
	if err != nil {
		return run.ID, err
	}
	c.JSON(http.StatusOK, state)
	return run.ID, nil
}

func (h *Handler) endRun(c *gin.Context) (int64, error) {
	run, _, err := h.ownRun(c)
	if err != nil {
		return 0, err
	}
	if err := h.replays.EndRun(c.Request.Context(), run); err != nil {
		return run.ID, err
	}
	c.JSON(http.StatusOK, struct{}{})
	return run.ID, nil
}

// failures writes an event a line, and at the end how many there are, by which a
// whole answer is known.
func (h *Handler) failures(c *gin.Context) (int64, error) {
	run, err := h.run(c)
	if err != nil {
		return 0, err
	}
	c.Header("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(c.Writer)
	n := 0
	missing, err := h.replays.Failures(c.Request.Context(), run.ID, func(payload []byte) error {
		n++
		return lines.Encode(failureLine{Payload: payload})
	})
	if err == nil && missing > 0 {
		n++
		err = lines.Encode(failureLine{Missing: missing})
	}
	if err == nil {
		err = lines.Encode(exportEnd{&n})
	}
	return run.ID, err
}

func (h *Handler) known(c *gin.Context) (int64, error) {
	connection, tenant, err := h.tenant(c)
	if err != nil {
		return 0, err
	}
	var request knownRequest
	if err := readJSON(c, &request); err != nil {
		return 0, err
	}
	reasons, err := h.replays.Known(c.Request.Context(), connection, tenant, request.Arrivals)
	if err != nil {
		return 0, err
	}
	c.JSON(http.StatusOK, reasons)
	return 0, nil
}

func (h *Handler) identifies(c *gin.Context) (int64, error) {
	connection, tenant, err := h.tenant(c)
	if err != nil {
		return 0, err
	}
	var request identifiesRequest
	if err := readJSON(c, &request); err != nil {
		return 0, err
	}
	if len(request.Queries) > adapter.MaxIdentifyQueries {
		return 0, &badRequestError{fmt.Sprintf("%d queries are more than %d", len(request.Queries), adapter.MaxIdentifyQueries)}
	}
	known, err := h.replays.Identifies(c.Request.Context(), connection, tenant, request.Queries)
	if err != nil {
		return 0, err
	}
	if known == nil {
		known = []adapter.KnownIdentify{}
	}
	c.JSON(http.StatusOK, known)
	return 0, nil
}
