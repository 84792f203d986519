package saasquatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"sync"
	"sync/atomic"
)

// ErrSizeChanged means that a file to upload does not have the given size.
var ErrSizeChanged = errors.New("the file's size is not the one that was given")

// Upload sends a file of size bytes for an import and returns SaaSquatch's name for it. SaaSquatch knows the format by
// the extension of the name, .jsonl or .csv. Its documentation has a size limit for SFTP only, 100 MB, and recommends
// at most 500 000 records.
//
// Upload opens the file once and streams it. It closes the file, though perhaps shortly after it returns, and even
// during a read if the upload ends then. Errors of the file itself are no APIErrors. A second upload of a file does no
// harm: only jobs import.
func (i *Importer) Upload(
	ctx context.Context, name string, size int64, open func() (io.ReadCloser, error),
) (fileRef string, err error) {
	const op = "upload import file"
	source, err := open()
	if err != nil {
		return "", fmt.Errorf("open import file: %w", err)
	}
	var frame bytes.Buffer // the bytes before and after the file; writes to memory do not fail
	form := multipart.NewWriter(&frame)
	_, _ = form.CreateFormFile("file", name)
	head := frame.Len()
	_ = form.Close()

	ctx, progress := watch(ctx, i.uploadTimeout, i.stallTimeout)
	defer progress.end()
	// The transport waits for the file even after the context has ended.
	closeFile := sync.OnceValue(source.Close)
	defer context.AfterFunc(ctx, func() { _ = closeFile() })()
	file := &uploadFile{source: source, left: size, progress: progress}
	body := &uploadBody{
		io.MultiReader(bytes.NewReader(frame.Bytes()[:head]), file, bytes.NewReader(frame.Bytes()[head:])),
		closeFile,
	}
	request := i.newPost(ctx, "export/upload", form.FormDataContentType(), body)
	request.ContentLength = int64(frame.Len()) + size
	// So that a wrong key is known before the file is sent.
	request.Header.Set("Expect", "100-continue")

	response, err := do(i.here, op, request)
	if fault, ok := errors.AsType[*fileFault](context.Cause(ctx)); ok {
		err = fmt.Errorf("read import file: %w", fault.error)
	}
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return "", err
	}
	progress.moves()
	if !succeeded(response.StatusCode) {
		return "", i.secrets.clean(refusal(op, response))
	}
	text, err := readAll(ctx, op, response, maxAnswer)
	if err != nil {
		return "", err
	}
	var answer struct {
		FileRef string `json:"fileRef"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.FileRef == "" {
		return "", unreadable(op, response.StatusCode, "the answer has no fileRef")
	}
	if !file.sent.Load() {
		return "", unreadable(op, response.StatusCode, "the answer came before the file was sent")
	}
	return answer.FileRef, nil
}

// uploadBody is the whole body of an upload.
type uploadBody struct {
	io.Reader
	closeFile func() error
}

// Close closes the file.
func (b *uploadBody) Close() error { return b.closeFile() }

// fileFault is a fault of the file that ended an upload.
type fileFault struct{ error }

// uploadFile reads the file and checks its size.
type uploadFile struct {
	source   io.Reader
	left     int64
	progress *progress
	sent     atomic.Bool // whether all was read
}

func (f *uploadFile) Read(p []byte) (int, error) {
	f.progress.moves()
	n, err := f.source.Read(p)
	f.left -= int64(n)
	if f.left < 0 || err == io.EOF && f.left > 0 {
		err = ErrSizeChanged
	}
	switch err {
	case nil:
	case io.EOF:
		f.sent.Store(true)
	default:
		// The transport would wrap the error, or report that the connection broke.
		f.progress.cancel(&fileFault{err})
	}
	return n, err
}
