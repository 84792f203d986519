package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"regexp"
	"strings"
)

const (
	// maxUpload bounds an uploaded file, in bytes. SaaSquatch publishes 100 MB for its SFTP server. Assumed: the limit
	// holds for uploads as well.
	maxUpload = 100_000_000
	// maxForm bounds the parts of a multipart form around the file, in bytes.
	maxForm = 1 << 20
	// maxUploadName bounds the file's name in a fileRef, in bytes.
	maxUploadName = 64
)

var (
	errUploadTooLarge = &apiError{http.StatusRequestEntityTooLarge,
		"The file is larger than 100 MB.", "PAYLOAD_TOO_LARGE", ""}
	errNoRoom = &apiError{http.StatusServiceUnavailable,
		"The sandbox cannot keep more files. A reset makes room.", "SERVICE_UNAVAILABLE", ""}
	errUploadFailed = &apiError{http.StatusInternalServerError,
		"The sandbox cannot keep the file.", "INTERNAL_ERROR", "RS014"}
	errUploadBroken = badRequest("The upload cannot be read to its end.")
	errUploadEmpty  = badRequest("The file is empty.")
)

// upload is a file that a client uploaded for import.
type upload struct {
	ref  string
	file *spooled
	// lines is the number of lines, first the first byte that is not white space.
	lines int
	first byte
	used  bool // by a job; guarded by the server's mutex
}

// upload takes a file for import and streams it to disk. The file is either the body or the part "file" of a multipart
// form.
//
// SaaSquatch publishes these two ways to upload, the two formats and the form of the fileRef. Assumed: the name in the
// form must end in .jsonl or .csv, and a file without a name is .jsonl.
func (s *Server) upload(t *tenant, a *attempt) answer {
	file, err := s.spool.create()
	if err != nil {
		return uploadError(err).answer(a.scratch)
	}
	var counter lineCounter
	name, err := receive(a.request, io.MultiWriter(file, &counter))
	if err == nil && counter.size == 0 {
		err = errUploadEmpty
	}
	if err != nil {
		file.drop()
		return uploadError(err).answer(a.scratch)
	}
	u := &upload{file: file, lines: counter.lines(), first: counter.first}
	s.keepUpload(t, u, name)
	s.counts.Load().uploads.Add(1)
	body, _ := json.Marshal(map[string]string{"fileRef": u.ref}) // cannot fail
	return answer{status: http.StatusOK, body: body}
}

// keepUpload gives the upload a unique fileRef.
func (s *Server) keepUpload(t *tenant, u *upload, name uploadName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads++
	id := appendEventID(nil, s.now().UnixMilli(), s.uploads)
	u.ref = "imports/" + t.alias + "/" + name.stem + "_" + string(id) + name.extension
	t.uploads[u.ref] = u
}

func uploadError(err error) *apiError {
	var apiErr *apiError
	switch {
	case errors.As(err, &apiErr):
		return apiErr
	case errors.Is(err, errSpoolFull), errors.Is(err, errSpoolClosed):
		return errNoRoom
	default:
		return errUploadFailed
	}
}

// drainUpload reads the rest of an upload, so that its client can read the answer.
func drainUpload(body io.Reader) {
	_, _ = io.CopyN(io.Discard, body, maxUpload+maxForm)
}

type uploadName struct{ stem, extension string }

// receive copies the file of an upload.
func receive(r *http.Request, to io.Writer) (uploadName, error) {
	body := io.LimitReader(r.Body, maxUpload+maxForm)
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if !strings.HasPrefix(mediaType, "multipart/") {
		return uploadName{"upload", ".jsonl"}, copyFile(to, body)
	}
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return uploadName{}, badRequest("The form must be multipart/form-data with a boundary.")
	}
	form := multipart.NewReader(body, params["boundary"])
	var name uploadName
	for {
		part, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF) && name == uploadName{}:
			return name, badRequest("The form has no part named file.")
		case errors.Is(err, io.EOF):
			return name, nil
		case err != nil:
			return name, errUploadBroken
		}
		if part.FormName() != "file" {
			continue // NextPart skips the rest of it
		}
		if name != (uploadName{}) {
			return name, badRequest("The form has two parts named file.")
		}
		if name, err = nameUpload(part.FileName()); err != nil {
			return name, err
		}
		if err := copyFile(to, part); err != nil {
			return name, err
		}
	}
}

// copyFile copies up to maxUpload bytes. It returns errUploadBroken if the client breaks off, and other errors of the
// disk.
func copyFile(to io.Writer, from io.Reader) error {
	buffer := make([]byte, 64<<10)
	size := 0
	for {
		n, readErr := from.Read(buffer)
		if size += n; size > maxUpload {
			return errUploadTooLarge
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return errUploadBroken
		}
	}
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// nameUpload turns a file's name into a part of a fileRef.
func nameUpload(fileName string) (uploadName, error) {
	if fileName == "" {
		return uploadName{"upload", ".jsonl"}, nil
	}
	extension := path.Ext(fileName)
	if extension != ".jsonl" && extension != ".csv" {
		return uploadName{}, badRequest("The file's name must end in .jsonl or .csv.")
	}
	stem := notInName.ReplaceAllString(strings.TrimSuffix(fileName, extension), "_")
	if len(stem) > maxUploadName {
		stem = stem[:maxUploadName]
	}
	if stem == "" {
		stem = "upload"
	}
	return uploadName{stem, extension}, nil
}
