package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"segment-saasquatch/adapter"
)

// Client carries out operations through the admin API of a running server.
type Client struct {
	base   string
	token  adapter.Secret
	client *http.Client
}

var _ adapter.Operations = (*Client)(nil)

// NewClient returns a Client of the server at base, such as http://127.0.0.1:9090. Over plain HTTP it talks to
// loopback addresses only, because each request carries the token. Only the context bounds the wait for an answer:
// work on many deliveries takes long.
func NewClient(base string, token adapter.Secret) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the server is not a URL: write one such as http://127.0.0.1:9090")
	}
	addr, addrErr := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || addrErr == nil && addr.IsLoopback()
	if u.Scheme == "http" && !loopback {
		return nil, errors.New("the token would travel over plain http: use https, or a tunnel " +
			"to the server's own machine")
	}
	if token.IsZero() {
		return nil, errors.New("the admin API needs a token: set ADMIN_TOKEN")
	}
	return &Client{
		base:  strings.TrimSuffix(base, "/") + "/admin/v1",
		token: token,
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}, nil
}

// call makes a request with a query and returns the body of a successful answer.
func (c *Client) call(ctx context.Context, method, path string, q *query) (io.ReadCloser, error) {
	if q != nil {
		if q.filter.IDs != nil && len(q.filter.IDs) == 0 {
			return nil, errors.New("the filter has an empty list of ids: the query cannot express that, " +
				"and would pick all")
		}
		if parameters := q.encode().Encode(); parameters != "" {
			path += "?" + parameters
		}
	}
	return c.do(ctx, method, path, nil)
}

// do makes a request with a body, nil for none, and returns the body of a successful answer.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	var failure struct{ Error string }
	text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // a part of it may do
	if response.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
		return nil, errors.New("the filter is too long for a request: name fewer ids at a time")
	}
	if json.Unmarshal(text, &failure) != nil || failure.Error == "" {
		return nil, fmt.Errorf("the server answered %s, which is not an answer of the admin API: "+
			"is this the admin address?", response.Status)
	}
	for known, status := range statusByError {
		if response.StatusCode == status && failure.Error == known.Error() {
			return nil, known
		}
	}
	switch response.StatusCode {
	case http.StatusUnprocessableEntity:
		return nil, &adapter.RefusedError{Problem: failure.Error}
	case http.StatusServiceUnavailable:
		return nil, &adapter.UnavailableError{Message: failure.Error}
	case http.StatusTooManyRequests:
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
			return nil, &adapter.BusyError{RetryAfter: time.Duration(seconds) * time.Second}
		}
	}
	return nil, fmt.Errorf("the server answered %s: %s", response.Status, failure.Error)
}

// fetch makes a request with a query and reads the answer.
func fetch[T any](ctx context.Context, c *Client, method, path string, q *query) (T, error) {
	return decode[T](c.call(ctx, method, path, q))
}

// decode reads an answer, if there is one.
func decode[T any](body io.ReadCloser, err error) (value T, _ error) {
	if err != nil {
		return value, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&value); err != nil {
		return value, fmt.Errorf("read the server's answer: %w", err)
	}
	return value, nil
}

// List finds deliveries; see [adapter.Operations].
func (c *Client) List(ctx context.Context, filter adapter.Filter, limit int) ([]adapter.Delivery, error) {
	return fetch[[]adapter.Delivery](ctx, c, http.MethodGet, "/deliveries", &query{filter: filter, limit: limit})
}

// Scans estimates the cost of a filter; see [adapter.Operations]. A server of an earlier version answers with an
// error.
func (c *Client) Scans(ctx context.Context, filter adapter.Filter) (adapter.Scan, error) {
	return fetch[adapter.Scan](ctx, c, http.MethodGet, "/scans", &query{filter: filter})
}

// Show returns one delivery; see [adapter.Operations].
func (c *Client) Show(ctx context.Context, id int64) (*adapter.Delivery, error) {
	return fetch[*adapter.Delivery](ctx, c, http.MethodGet, "/deliveries/"+strconv.FormatInt(id, 10), nil)
}

// Stats counts deliveries; see [adapter.Operations].
func (c *Client) Stats(ctx context.Context, filter adapter.Filter) (*adapter.Stats, error) {
	return fetch[*adapter.Stats](ctx, c, http.MethodGet, "/stats", &query{filter: filter})
}

// Verify checks the conservation of events; see [adapter.Operations].
func (c *Client) Verify(ctx context.Context) ([]adapter.Conservation, error) {
	return fetch[[]adapter.Conservation](ctx, c, http.MethodGet, "/verify", nil)
}

// Redrive makes deliveries pending again; see [adapter.Operations].
func (c *Client) Redrive(
	ctx context.Context, filter adapter.Filter, limit int, toTenant string, dry bool,
) (*adapter.Redrive, error) {
	q := &query{filter: filter, limit: limit, dry: dry, toTenant: toTenant}
	return fetch[*adapter.Redrive](ctx, c, http.MethodPost, "/redrive", q)
}

// Purge deletes deliveries; see [adapter.Operations].
func (c *Client) Purge(ctx context.Context, filter adapter.Filter, limit int, dry bool) (*adapter.Purge, error) {
	return fetch[*adapter.Purge](ctx, c, http.MethodPost, "/purge", &query{filter: filter, limit: limit, dry: dry})
}

// Export yields deliveries with their payloads; see [adapter.Operations]. An export that breaks off is an error.
func (c *Client) Export(
	ctx context.Context, filter adapter.Filter, limit int, yield func(*adapter.Delivery) error,
) error {
	body, err := c.call(ctx, http.MethodGet, "/export", &query{filter: filter, limit: limit})
	if err != nil {
		return err
	}
	defer body.Close()
	return readExport(body, "the export", yield)
}

// readExport yields the values of an answer that has one a line and their number at the end. An answer that breaks off
// is an error.
func readExport[T any](body io.Reader, what string, yield func(*T) error) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	for n := 0; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("%s broke off after %d lines: %w", what, n, err)
		}
		var end exportEnd
		isEnd := bytes.HasPrefix(line, []byte(`{"exported":`)) && json.Unmarshal(line, &end) == nil
		if isEnd && end.Exported != nil {
			if *end.Exported != n {
				return fmt.Errorf("%s has %d lines, but the server sent %d", what, n, *end.Exported)
			}
			return nil
		}
		var value T
		if err := json.Unmarshal(line, &value); err != nil {
			return fmt.Errorf("read line %d of %s: %w", n+1, what, err)
		}
		if err := yield(&value); err != nil {
			return err
		}
	}
}
