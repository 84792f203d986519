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

// ErrSizeChanged means that a file to upload is not as long as was said.
var ErrSizeChanged = errors.New("the file's size is not the one that was given")

// Upload sends a file of size bytes to be imported and returns what SaaSquatch
// calls it. SaaSquatch tells the format by the extension of the name, .jsonl or
// .csv. The documentation gives no limit of size but that of SFTP, 100 MB, and
// recommends at most 500 000 records.
//
// The file is opened once and streamed. It is closed, though perhaps shortly after
// Upload returns, and while it is being read if the upload ends then. Errors of
// the file itself are no APIErrors. A second upload of a file does no harm: only
// jobs import.
func (i *Importer) Upload(ctx context.Context, name string, size int64, open func() (io.ReadCloser, error)) (fileRef string, err error) {
	const op = "upload import file"
	source, err := open()
	if err != nil {
		return "", fmt.Errorf("open import file: %w", err)
	}
	var frame bytes.Buffer // what stands around the file, written to memory: no errors
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
	// A wrong key is better known before the file is sent.
	request.Header.Set("Expect", "100-continue")

	response, err := do(i.here, op, request)
	var fault *fileFault
	if errors.As(context.Cause(ctx), &fault) {
		err = fmt.Errorf("read import file: %w", fault.error)
	}
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return "", err
	}
	progress.moves()
	if response.StatusCode < 200 || response.StatusCode > 299 {
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

// fileFault is the cause of an upload's end that lies in the file.
type fileFault struct{ error }

// uploadFile reads the file, which must have the bytes that it should.
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
