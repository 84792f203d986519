package saasquatch

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// ErrUnsafeLink means that the Importer does not fetch a file from its URL: it is neither https nor, for a SaaSquatch
// on this machine, http on this machine.
var ErrUnsafeLink = errors.New("the link is no https URL")

// maxRedirects bounds how many redirects a download follows.
const maxRedirects = 3

// DownloadErrors yields the records that SaaSquatch refused. The sequence can be run once. An error is its last
// element; the elements before it are valid. For a job without a file of errors it is ErrNoFile.
//
// The file may be CSV or JSON lines, compressed by gzip or not. A line may have 8 MiB. The file is streamed and not
// kept.
func (i *Importer) DownloadErrors(ctx context.Context, job adapter.ImportJob) iter.Seq2[adapter.RecordError, error] {
	return download(ctx, i, "download import errors", job.ErrorsURL, errorRows, recordError)
}

// DownloadResults yields the events that SaaSquatch took, in the same way as DownloadErrors.
func (i *Importer) DownloadResults(
	ctx context.Context, job adapter.ImportJob,
) iter.Seq2[adapter.ImportedEvent, error] {
	return download(ctx, i, "download import results", job.ResultsURL, resultRows, importedEvent)
}

func download[T any](
	ctx context.Context, i *Importer, op string, link adapter.Secret, form rowForm, read func(row) T,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if link.IsZero() {
			yield(none, fmt.Errorf("%s: %w", op, adapter.ErrNoFile))
			return
		}
		ctx, progress := watch(ctx, i.downloadTimeout, i.stallTimeout)
		defer progress.end()
		file, err := i.open(ctx, op, link)
		if err != nil {
			yield(none, err)
			return
		}
		defer file.Close()
		body, err := plainText(&downloadBody{ctx, op, file, progress})
		if err == nil {
			for row, rowErr := range rows(body, form) {
				if err = rowErr; err != nil {
					break
				}
				if !yield(read(row), nil) {
					return
				}
			}
		}
		if err == nil {
			return
		}
		if !typed[*adapter.APIError](err) {
			err = fmt.Errorf("%s: %w", op, err)
		}
		yield(none, err)
	}
}

// open fetches the file. Only SaaSquatch's own host gets the credentials. Another host, such as a storage with signed
// links, does not, and neither does a target of that host's redirects.
func (i *Importer) open(ctx context.Context, op string, link adapter.Secret) (io.ReadCloser, error) {
	target, err := i.base.Parse(link.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, ErrUnsafeLink) // err would show the link
	}
	trusted := true
	for redirects := 0; ; redirects++ {
		if !i.safe(target) {
			return nil, fmt.Errorf("%s: %w", op, ErrUnsafeLink)
		}
		trusted = trusted && i.isHere(target)
		response, err := i.get(ctx, op, target, trusted)
		if err != nil {
			return nil, err
		}
		next, err := redirected(response, target)
		switch {
		case next == nil && err == nil && response.StatusCode == http.StatusOK:
			return response.Body, nil
		case next == nil || err != nil || redirects == maxRedirects:
			defer response.Body.Close()
			return nil, i.secrets.clean(downloadRefusal(op, response, trusted))
		}
		// Read so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
		response.Body.Close()
		target = next
	}
}

// get makes one request for a file.
func (i *Importer) get(ctx context.Context, op string, target *url.URL, trusted bool) (*http.Response, error) {
	header := http.Header{"User-Agent": {i.userAgent}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}}
	transport := i.elsewhere
	if i.isHere(target) {
		transport = i.here
	}
	if trusted {
		header["Authorization"] = i.authorization
	}
	request := http.Request{Method: http.MethodGet, URL: target, Header: header}
	return do(transport, op, request.WithContext(ctx))
}

// redirected returns the target of a redirect, nil for another answer.
func redirected(response *http.Response, from *url.URL) (*url.URL, error) {
	switch response.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return from.Parse(response.Header.Get("Location"))
	}
	return nil, nil
}

// downloadRefusal describes an answer without a file. Only SaaSquatch's own answer blames the configuration: a storage
// answers 403 to an expired link.
func downloadRefusal(op string, response *http.Response, trusted bool) *adapter.APIError {
	failure := refusal(op, response)
	switch {
	case succeeded(response.StatusCode):
		return unreadable(op, response.StatusCode, "the answer has no file")
	case failure.Reason == mapping.ReasonRedirected:
		failure.Message = fmt.Sprintf("more than %d redirects, or one to nowhere", maxRedirects)
		failure.Misconfigured = false
	case failure.Reason == mapping.ReasonUnexpectedAnswer: // a storage has errors of its own
		failure.Reason, failure.Misconfigured, failure.Message = mapping.ReasonRefused, false, ""
	case !trusted && failure.Misconfigured:
		failure.Reason, failure.Misconfigured = mapping.ReasonRefused, false
	}
	return failure
}

// safe reports whether the Importer may fetch a file from the URL.
func (i *Importer) safe(target *url.URL) bool {
	if target.Host == "" || target.User != nil || target.Opaque != "" {
		return false
	}
	return target.Scheme == "https" || i.plain && target.Scheme == "http" && isLoopback(target.Hostname())
}

// isHere reports whether the URL is of the same origin as SaaSquatch.
func (i *Importer) isHere(target *url.URL) bool {
	return target.Scheme == i.base.Scheme && strings.EqualFold(target.Hostname(), i.base.Hostname()) &&
		port(target) == port(i.base)
}

func port(u *url.URL) string {
	return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}

// downloadBody reads a file and describes a broken connection.
type downloadBody struct {
	ctx      context.Context
	op       string
	body     io.Reader
	progress *progress
}

// Read does not count the time between two calls as time without progress.
func (d *downloadBody) Read(p []byte) (int, error) {
	d.progress.moves()
	n, err := d.body.Read(p)
	d.progress.rests()
	if err != nil && err != io.EOF {
		err = noAnswer(d.ctx, d.op, err, phaseSent)
	}
	return n, err
}

// plainText returns the file's text, without gzip and without a byte order mark.
func plainText(file io.Reader) (*bufio.Reader, error) {
	const size = 64 << 10
	buffered := bufio.NewReaderSize(file, size)
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		buffered = bufio.NewReaderSize(unzipped, size)
	}
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3)
	}
	return buffered, nil
}
