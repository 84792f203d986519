package saasquatch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

func TestUploadMakesTheDocumentedRequest(t *testing.T) {
	content := strings.Repeat(`{"userId":"u"}`+"\n", 100_000)
	var closed atomic.Int32
	importer := newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if r.Method != "POST" || r.RequestURI != "/api/v1/test_tenant/export/upload" || user != "" ||
			password != testKey || !ok {
			t.Errorf("%s %s as %s:%s", r.Method, r.RequestURI, user, password)
		}
		length := r.ContentLength
		var raw bytes.Buffer
		r.Body = io.NopCloser(io.TeeReader(r.Body, &raw))
		form, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		part, err := form.NextPart()
		if err != nil {
			t.Error(err)
			return
		}
		got, err := io.ReadAll(part)
		if part.FormName() != "file" || part.FileName() != "events 1.jsonl" || string(got) != content || err != nil {
			t.Errorf("part %q, file %q, %d bytes (%v)", part.FormName(), part.FileName(), len(got), err)
		}
		if _, err := form.NextPart(); err != io.EOF {
			t.Errorf("another part (%v)", err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if int(length) != raw.Len() {
			t.Errorf("Content-Length %d, body of %d", length, raw.Len())
		}
		_, _ = io.WriteString(w, `{"fileRef":"imports/test_tenant/userEvents_1.jsonl"}`)
	})
	ref, err := importer.Upload(t.Context(), "events 1.jsonl", int64(len(content)), func() (io.ReadCloser, error) {
		return &closer{Reader: strings.NewReader(content), closed: &closed}, nil
	})
	if ref != "imports/test_tenant/userEvents_1.jsonl" || err != nil {
		t.Errorf("got %q, %v", ref, err)
	}
	if closed.Load() == 0 {
		t.Error("the file was not closed")
	}
}

type closer struct {
	io.Reader
	closed *atomic.Int32
}

func (c *closer) Close() error { c.closed.Add(1); return nil }

// TestUploadOfABadFile checks that an error names a fault of the file.
func TestUploadOfABadFile(t *testing.T) {
	importer := newImporter(t, answer(200, `{"fileRef":"r"}`))
	broken := errors.New("broken disk")
	for name, test := range map[string]struct {
		size int64
		open func() (io.ReadCloser, error)
		want error
	}{
		"not there": {2, func() (io.ReadCloser, error) { return nil, broken }, broken},
		"breaks":    {9, func() (io.ReadCloser, error) { return io.NopCloser(&failing{"{}", broken}), nil }, broken},
		"shorter":   {3, text("{}"), ErrSizeChanged},
		"longer":    {1, text("{}"), ErrSizeChanged},
	} {
		_, err := importer.Upload(t.Context(), "f.jsonl", test.size, test.open)
		var failure *adapter.APIError
		if !errors.Is(err, test.want) || errors.As(err, &failure) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ref, err := importer.Upload(t.Context(), "f.jsonl", 0, text("")); ref != "r" || err != nil {
		t.Errorf("an empty file: %q, %v", ref, err)
	}
}

// failing reads a text, and then an error.
type failing struct {
	text string
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	n := copy(p, f.text)
	f.text = f.text[n:]
	if n == 0 {
		return 0, f.err
	}
	return n, nil
}

// TestUploadRefusedEarly checks that nothing of a file is sent with a wrong key.
func TestUploadRefusedEarly(t *testing.T) {
	importer := newImporter(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	importer.here.(finalOnly).RoundTripper.(*http.Transport).ExpectContinueTimeout = time.Minute
	_, err := importer.Upload(t.Context(), "f.jsonl", 1<<40, func() (io.ReadCloser, error) {
		return io.NopCloser(&failing{"", fmt.Errorf("the file was read")}), nil
	})
	if kind(t, err) != "misconfigured" {
		t.Errorf("got %v", err)
	}
}

// TestUploadAnsweredEarly checks that an early success is an error.
func TestUploadAnsweredEarly(t *testing.T) {
	hold := make(chan struct{})
	importer := newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 10)
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Length", "15")
		_, _ = io.WriteString(w, `{"fileRef":"r"}`)
		w.(http.Flusher).Flush()
		<-hold
	})
	reader, writer := io.Pipe()
	go func() { _, _ = io.WriteString(writer, "{}") }()
	_, err := importer.Upload(t.Context(), "f.jsonl", 1000, func() (io.ReadCloser, error) { return reader, nil })
	close(hold)
	if kind(t, err) != "retryable" {
		t.Errorf("got %v", err)
	}
}

// TestUploadThatStalls checks that a file that stalls ends the upload.
func TestUploadThatStalls(t *testing.T) {
	importer := newImporter(t, answer(200, `{"fileRef":"r"}`))
	importer.stallTimeout = 20 * time.Millisecond
	reader, writer := io.Pipe()
	defer writer.Close()
	_, err := importer.Upload(t.Context(), "f.jsonl", 1000, func() (io.ReadCloser, error) { return reader, nil })
	var failure *adapter.APIError
	if !errors.As(err, &failure) || failure.Reason != mapping.ReasonTimeout {
		t.Errorf("got %v", err)
	}
	if _, err := writer.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the file is still open: %v", err)
	}
}
