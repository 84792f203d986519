package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

const (
	// googleScope is wider than reading: an account that impersonates another needs it.
	googleScope = "https://www.googleapis.com/auth/cloud-platform"
	// tokenTimeout bounds one request for an access token.
	tokenTimeout = 30 * time.Second
	// patience is how long a request is retried. It is less than stallTimeout, so the error of the
	// last attempt is reported.
	patience = 45 * time.Second
	// leastPause is the wait before the first retry. It doubles before each further one.
	leastPause = time.Second
	// mostListing bounds a page of a listing. Keys have up to 1 KiB.
	mostListing = 16 << 20
	// mostRefusal bounds the text of an answer other than a success.
	mostRefusal = 64 << 10
)

// googleBucket is a bucket of Google Cloud Storage, by its JSON API:
// https://docs.cloud.google.com/storage/docs/json_api/v1.
//
// It retries as Google asks clients to do:
// https://docs.cloud.google.com/storage/docs/retry-strategy.
type googleBucket struct {
	client    *http.Client
	transport *http.Transport
	url       string // of the bucket's objects
}

func openGoogle(ctx context.Context, name string, s *settings) (cloud, error) {
	anonymous := s.flag("anonymous", false) || s.text("access_id") == "-"
	universe := s.text("universe_domain")
	s.text("private_key_path") // makes no difference to reading
	for _, grpc := range []string{"grpc", "zonal"} {
		if s.flag(grpc, false) {
			s.faults = append(s.faults, fmt.Errorf("%s: buckets are read by the JSON API only: leave it out", grpc))
		}
	}
	if err := s.finish(); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	b := &googleBucket{client: &http.Client{Transport: transport}, transport: transport}
	base := "https://storage." + cmp.Or(universe, "googleapis.com")
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" {
		base = strings.TrimSuffix(emulator, "/")
		if !strings.Contains(base, "://") {
			base = "http://" + base
		}
	} else if !anonymous {
		ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport, Timeout: tokenTimeout})
		found, err := google.FindDefaultCredentialsWithParams(ctx, google.CredentialsParams{
			Scopes: []string{googleScope}, UniverseDomain: universe,
		})
		if err != nil {
			return nil, err
		}
		domain, err := found.GetUniverseDomain()
		if err != nil {
			return nil, err
		}
		base = "https://storage." + domain
		b.client.Transport = &oauth2.Transport{Source: found.TokenSource, Base: transport}
	}
	b.url = base + "/storage/v1/b/" + url.PathEscape(name) + "/o"
	return b, nil
}

// googleError is an answer other than a success.
type googleError struct {
	status int
	text   string
}

func (e *googleError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("Google Cloud Storage answers %d: %s", e.status, e.text), ": ")
}

func (b *googleBucket) list(ctx context.Context, q query) (page, error) {
	parameters := url.Values{
		"maxResults": {strconv.Itoa(q.size)},
		"projection": {"noAcl"},
		"fields":     {"nextPageToken,prefixes,items(name,generation,size,updated)"},
	}
	for name, value := range map[string]string{"prefix": q.prefix, "delimiter": q.delimiter, "pageToken": q.token} {
		if value != "" {
			parameters.Set(name, value)
		}
	}
	response, err := b.get(ctx, b.url+"?"+parameters.Encode(), nil)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostListing))
	if err != nil {
		return page{}, fmt.Errorf("read the listing: %w", err)
	}
	var answer struct {
		NextPageToken string
		Prefixes      []string
		Items         []struct {
			Name, Generation string
			Size             int64 `json:",string"`
			Updated          time.Time
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return page{}, fmt.Errorf("parse the listing: %w", err)
	}
	p := page{folders: answer.Prefixes, next: answer.NextPageToken}
	for _, item := range answer.Items {
		// Unlike the generation, the ETag and the time change with the metadata too.
		i := identity{tag: item.Generation, size: item.Size}
		if i.tag == "" {
			i.modified = item.Updated
		}
		p.objects = append(p.objects, listed{item.Name, i})
	}
	return p, nil
}

func (b *googleBucket) read(ctx context.Context, key string, offset int64) (answer, error) {
	// Without this header, the server decompresses objects with Content-Encoding: gzip, and an offset
	// means nothing.
	header := http.Header{"Accept-Encoding": {"gzip"}}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := b.get(ctx, b.url+"/"+url.PathEscape(key)+"?alt=media", header)
	if err != nil {
		return answer{}, err
	}
	i := identity{tag: response.Header.Get("X-Goog-Generation")}
	return newAnswer(response.Body, offset, response.ContentLength, response.Header.Get("Content-Range"), i)
}

// get sends a request until it succeeds, fails for good, or runs out of patience.
func (b *googleBucket) get(ctx context.Context, url string, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	started := time.Now()
	for pause := leastPause; ; pause *= 2 {
		response, err := b.client.Do(request)
		if err == nil && response.StatusCode < 300 {
			return response, nil
		}
		wait := pause/2 + rand.N(pause/2)
		if err == nil {
			if after, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
				wait = max(wait, time.Duration(after)*time.Second)
			}
			err = refusal(response)
		}
		if ctx.Err() != nil || !isTransient(err) || time.Since(started)+wait > patience {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// refusal returns the error of an answer, and closes it.
func refusal(response *http.Response) error {
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostRefusal))
	if err != nil {
		return err
	}
	var answer struct{ Error struct{ Message string } }
	if json.Unmarshal(text, &answer) != nil || answer.Error.Message == "" {
		answer.Error.Message = strings.TrimSpace(string(text[:min(len(text), 200)]))
	}
	return &googleError{response.StatusCode, answer.Error.Message}
}

// isTransient reports whether a failure may go away by itself.
func isTransient(err error) bool {
	var (
		answer *googleError
		token  *oauth2.RetrieveError
		dns    *net.DNSError
		other  net.Error
	)
	switch {
	case errors.As(err, &answer):
		return isTransientStatus(answer.status)
	case errors.As(err, &token) && token.Response != nil:
		return isTransientStatus(token.Response.StatusCode)
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.As(err, &other) && other.Timeout():
		return true
	}
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNREFUSED,
		syscall.ECONNRESET} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

func isTransientStatus(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

func (b *googleBucket) close() { b.transport.CloseIdleConnections() }
