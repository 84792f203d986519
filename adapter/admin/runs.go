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

// The bodies that a replay and the server whose store it uses exchange.
type (
	// runAnswer is a run with the token that identifies its owner.
	runAnswer struct {
		Run     *adapter.Run             `json:"run"`
		Owner   int64                    `json:"owner,string"` // a JSON number is not sure to keep all its digits
		Objects []adapter.ObjectProgress `json:"objects,omitempty"`
	}
	// ownerRequest is a request by the owner of a run.
	ownerRequest struct {
		Owner int64          `json:"owner,string"`
		Batch *adapter.Batch `json:"batch,omitempty"`
	}
	// knownRequest asks which events the store knows.
	knownRequest struct {
		Arrivals []adapter.Arrival `json:"arrivals"`
	}
	// identifiesRequest asks for newer identify calls.
	identifiesRequest struct {
		Queries []adapter.IdentifyQuery `json:"queries"`
	}
	// failureLine is a dead or rejected event, or the number of such events without a payload.
	failureLine struct {
		Payload []byte `json:"payload"`
		Missing int64  `json:"missing,omitempty"`
	}
)

// maxRunBody bounds the body of a replay's request, in bytes. A batch's lines are in it in base64.
const maxRunBody = 64 << 20

// addRuns adds the routes that a replay uses.
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

// Whether a successful action has a line in the log. A replay makes frequent ones many times a second. A failed action
// always has a line.
const (
	audited  = true
	frequent = false
)

// runAction wraps an operation on the run whose id is in the path. Without an id there, the run has none.
func (h *Handler) runAction(
	name string, audit bool, operate func(*gin.Context, *adapter.Run) (answer any, err error),
) gin.HandlerFunc {
	return func(c *gin.Context) {
		if h.replays == nil {
			answerError(c, http.StatusConflict, notKept)
			return
		}
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxRunBody)
		var answer any
		run, err := runOf(c)
		if err == nil {
			answer, err = operate(c, run)
		}
		fields := []zap.Field{
			zap.String("action", name), zap.Int64("run", run.ID),
			zap.String("remote", c.Request.RemoteAddr), zap.Int("token", c.GetInt(tokenKey)),
		}
		if err != nil {
			status := failRun(c, err)
			h.log.Log(failureLevel(c, status, err), "admin action",
				append(fields, zap.Int("status", status), zap.Error(err))...)
			return
		}
		if answer != nil {
			c.JSON(http.StatusOK, answer)
		}
		if audit {
			h.log.Info("admin action", fields...)
		}
	}
}

func runOf(c *gin.Context) (*adapter.Run, error) {
	run := &adapter.Run{}
	if text, ok := c.Params.Get("id"); ok {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return run, adapter.ErrNoRun
		}
		run.ID = id
	}
	return run, nil
}

// failRun answers an error of an operation on runs and returns the status.
func failRun(c *gin.Context, err error) int {
	if bad, ok := errors.AsType[*badRequestError](err); ok {
		return answerFailure(c, http.StatusBadRequest, bad.Error())
	}
	if unavailable, ok := errors.AsType[*adapter.UnavailableError](err); ok {
		return answerFailure(c, http.StatusServiceUnavailable, unavailable.Unavailable())
	}
	return failAny(c, err)
}

// badRequestError describes a request that no replay sends.
type badRequestError struct{ problem string }

func (e *badRequestError) Error() string { return e.problem }

// readJSON reads the body of a request.
func readJSON(c *gin.Context, value any) error {
	if err := json.NewDecoder(c.Request.Body).Decode(value); err != nil {
		return &badRequestError{fmt.Sprintf("the body cannot be read as JSON: %v", err)}
	}
	return nil
}

// ownRun reads a request by the owner of a run. It returns the batch of the request.
func ownRun(c *gin.Context, run *adapter.Run) (*adapter.Batch, error) {
	var request ownerRequest
	err := readJSON(c, &request)
	run.Owner = request.Owner
	return request.Batch, err
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

func (h *Handler) listRuns(c *gin.Context, _ *adapter.Run) (any, error) {
	runs, err := h.replays.Runs(c.Request.Context())
	return orEmpty(runs), err
}

func (h *Handler) beginRun(c *gin.Context, run *adapter.Run) (any, error) {
	connection, tenant, err := h.tenant(c)
	if err != nil {
		return nil, err
	}
	var spec json.RawMessage
	if err := readJSON(c, &spec); err != nil {
		return nil, err
	}
	begun, err := h.replays.BeginRun(c.Request.Context(), connection, tenant, spec)
	if err != nil {
		return nil, err
	}
	run.ID = begun.ID
	return runAnswer{Run: begun, Owner: begun.Owner}, nil
}

func (h *Handler) takeRun(c *gin.Context, run *adapter.Run) (any, error) {
	taken, objects, err := h.replays.TakeRun(c.Request.Context(), run.ID)
	if err != nil {
		return nil, err
	}
	return runAnswer{Run: taken, Owner: taken.Owner, Objects: objects}, nil
}

func (h *Handler) showRun(c *gin.Context, run *adapter.Run) (any, error) {
	shown, objects, err := h.replays.Run(c.Request.Context(), run.ID)
	return runAnswer{Run: shown, Objects: objects}, err
}

// acceptBatch stores a batch and answers with the outcome of each event.
func (h *Handler) acceptBatch(c *gin.Context, run *adapter.Run) (any, error) {
	batch, err := ownRun(c, run)
	if err != nil {
		return nil, err
	}
	if batch == nil || batch.Held {
		return nil, &badRequestError{
			"the request has no batch, or one for an import job, which needs the store itself"}
	}
	if err := h.replays.AcceptBatch(c.Request.Context(), run, batch); err != nil {
		return nil, err
	}
	outcomes := make([]adapter.Tally, len(batch.Arrivals))
	for i := range batch.Arrivals {
		outcomes[i] = adapter.Tally{Outcome: batch.Arrivals[i].Outcome, Reason: batch.Arrivals[i].Reason, Events: 1}
	}
	return outcomes, nil
}

func (h *Handler) runState(c *gin.Context, run *adapter.Run) (any, error) {
	return h.replays.RunState(c.Request.Context(), run)
}

func (h *Handler) endRun(c *gin.Context, run *adapter.Run) (any, error) {
	if _, err := ownRun(c, run); err != nil {
		return nil, err
	}
	return struct{}{}, h.replays.EndRun(c.Request.Context(), run)
}

// failures writes one event a line.
func (h *Handler) failures(c *gin.Context, run *adapter.Run) (any, error) {
	_, err := answerLines(c, func(write func(any) error) error {
		missing, err := h.replays.Failures(c.Request.Context(), run.ID, func(payload []byte) error {
			return write(failureLine{Payload: payload})
		})
		if err == nil && missing > 0 {
			err = write(failureLine{Missing: missing})
		}
		return err
	})
	return nil, err
}

func (h *Handler) known(c *gin.Context, _ *adapter.Run) (any, error) {
	connection, tenant, err := h.tenant(c)
	if err != nil {
		return nil, err
	}
	var request knownRequest
	if err := readJSON(c, &request); err != nil {
		return nil, err
	}
	return h.replays.Known(c.Request.Context(), connection, tenant, request.Arrivals)
}

func (h *Handler) identifies(c *gin.Context, _ *adapter.Run) (any, error) {
	connection, tenant, err := h.tenant(c)
	if err != nil {
		return nil, err
	}
	var request identifiesRequest
	if err := readJSON(c, &request); err != nil {
		return nil, err
	}
	if n := len(request.Queries); n > adapter.MaxIdentifyQueries {
		return nil, &badRequestError{fmt.Sprintf("%d queries are more than %d", n, adapter.MaxIdentifyQueries)}
	}
	known, err := h.replays.Identifies(c.Request.Context(), connection, tenant, request.Queries)
	return orEmpty(known), err
}
