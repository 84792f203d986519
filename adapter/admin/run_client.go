package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

var _ adapter.RunStore = (*Client)(nil)

// send makes a request with a body and reads the answer.
func send[T any](ctx context.Context, c *Client, path string, body any) (value T, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return value, fmt.Errorf("write the request: %w", err)
	}
	return decode[T](c.do(ctx, http.MethodPost, path, text))
}

func runPath(id int64, action string) string {
	return "/runs/" + strconv.FormatInt(id, 10) + action
}

func ofConnection(path, connection string) string {
	return path + "?" + url.Values{"connection": {connection}}.Encode()
}

// owned returns the run of an answer with its owner, and its objects.
func owned(answer runAnswer, err error) (*adapter.Run, []adapter.ObjectProgress, error) {
	if err != nil {
		return nil, nil, err
	}
	run := cmp.Or(answer.Run, &adapter.Run{})
	run.Owner = answer.Owner
	return run, answer.Objects, nil
}

// BeginRun makes a run of the server's connection with that name, for the server's tenant. See [adapter.RunStore].
func (c *Client) BeginRun(ctx context.Context, connection, _ string, spec json.RawMessage) (*adapter.Run, error) {
	run, _, err := owned(send[runAnswer](ctx, c, ofConnection("/runs", connection), spec))
	return run, err
}

// TakeRun makes the caller the owner of a run; see [adapter.RunStore].
func (c *Client) TakeRun(ctx context.Context, id int64) (*adapter.Run, []adapter.ObjectProgress, error) {
	return owned(send[runAnswer](ctx, c, runPath(id, "/take"), struct{}{}))
}

// Run returns a run as it stands; see [adapter.RunStore].
func (c *Client) Run(ctx context.Context, id int64) (*adapter.Run, []adapter.ObjectProgress, error) {
	return owned(fetch[runAnswer](ctx, c, http.MethodGet, runPath(id, ""), nil))
}

// Runs returns all runs; see [adapter.RunStore].
func (c *Client) Runs(ctx context.Context) ([]adapter.Run, error) {
	return fetch[[]adapter.Run](ctx, c, http.MethodGet, "/runs", nil)
}

// AcceptBatch stores a batch; see [adapter.RunStore].
func (c *Client) AcceptBatch(ctx context.Context, run *adapter.Run, batch *adapter.Batch) error {
	outcomes, err := send[[]adapter.Tally](ctx, c, runPath(run.ID, "/batch"), ownerRequest{run.Owner, batch})
	if err != nil {
		return err
	}
	if len(outcomes) != len(batch.Arrivals) {
		return fmt.Errorf("the server answered for %d events of %d", len(outcomes), len(batch.Arrivals))
	}
	for i := range outcomes {
		batch.Arrivals[i].Outcome, batch.Arrivals[i].Reason = outcomes[i].Outcome, outcomes[i].Reason
	}
	return nil
}

// RunState returns the state of a run; see [adapter.RunStore].
func (c *Client) RunState(ctx context.Context, run *adapter.Run) (*adapter.RunState, error) {
	return fetch[*adapter.RunState](ctx, c, http.MethodGet, runPath(run.ID, "/state"), nil)
}

// EndRun ends a run; see [adapter.RunStore].
func (c *Client) EndRun(ctx context.Context, run *adapter.Run) error {
	_, err := send[struct{}](ctx, c, runPath(run.ID, "/end"), ownerRequest{Owner: run.Owner})
	return err
}

// Known looks up events; see [adapter.RunStore]. The tenant is that of the server's connection.
func (c *Client) Known(
	ctx context.Context, connection, _ string, arrivals []adapter.Arrival,
) ([]mapping.Reason, error) {
	reasons, err := send[[]mapping.Reason](ctx, c, ofConnection("/runs/known", connection), knownRequest{arrivals})
	if err == nil && len(reasons) != len(arrivals) {
		err = errors.New("the server's answer is incomplete")
	}
	return reasons, err
}

// Identifies looks for newer identify calls; see [adapter.RunStore]. The tenant is that of the server's connection.
func (c *Client) Identifies(
	ctx context.Context, connection, _ string, queries []adapter.IdentifyQuery,
) ([]adapter.KnownIdentify, error) {
	path := ofConnection("/runs/identifies", connection)
	known, err := send[[]adapter.KnownIdentify](ctx, c, path, identifiesRequest{queries})
	for i := range known {
		if known[i].Query < 0 || known[i].Query >= len(queries) {
			return nil, errors.New("the server answers a query that was not asked")
		}
	}
	return known, err
}

// Failures yields the payloads of a run's dead and rejected events; see [adapter.RunStore]. An answer that breaks off
// is an error.
func (c *Client) Failures(ctx context.Context, run int64, yield func([]byte) error) (missing int64, err error) {
	body, err := c.do(ctx, http.MethodGet, runPath(run, "/failures"), nil)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	err = readExport(body, "the list of failures", func(failure *failureLine) error {
		if failure.Missing > 0 {
			missing = failure.Missing
			return nil
		}
		return yield(failure.Payload)
	})
	return missing, err
}
