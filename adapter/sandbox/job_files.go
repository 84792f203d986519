package sandbox

import (
	"bufio"
	"crypto/subtle"
	"encoding/csv"
	"net/http"
	"strconv"
)

// tableFormat is a job's outputFormat. The sandbox does not simulate XLSX.
type tableFormat string

const (
	csvTable   tableFormat = "CSV"
	jsonlTable tableFormat = "JSONL"
)

func (f tableFormat) contentType() string {
	if f == csvTable {
		return "text/csv; charset=utf-8"
	}
	return "application/x-ndjson"
}

var (
	// errorColumns and eventColumns are published.
	errorColumns = []string{"recordNumber", "message", "apiErrorCode", "statusCode"}
	eventColumns = []string{
		"user.accountId", "user.id", "event.id", "event.key", "event.dateTriggered",
		"event.dateReceived", "event.dateProcessed", "event.fields",
	}
	// userColumns is assumed.
	userColumns = []string{"user.accountId", "user.id"}
)

func resultColumns(kind jobKind) []string {
	if kind == userJob {
		return userColumns
	}
	return eventColumns
}

// table is the file of a job's results or errors. In CSV it has the published columns. Assumed: in JSONL a line is an
// object with the same names, and a dot in a column stands for a nested object, as in the imported files. Assumed as
// well: dates are Unix milliseconds, and fields in CSV are JSON.
type table struct {
	spool   *spool
	format  tableFormat
	columns []string
	file    *spooled // nil before the first row
	out     *bufio.Writer
	csv     *csv.Writer
	row     []byte
}

func newTable(spool *spool, format tableFormat, columns []string) *table {
	return &table{spool: spool, format: format, columns: columns}
}

// open creates the file, unless it is open.
func (t *table) open() error {
	if t.file != nil {
		return nil
	}
	file, err := t.spool.create()
	if err != nil {
		return err
	}
	t.file, t.out = file, bufio.NewWriterSize(file, 64<<10)
	if t.format == csvTable {
		t.csv = csv.NewWriter(t.out)
		return t.csv.Write(t.columns)
	}
	return nil
}

// result is the result of a record without an error.
type result struct {
	ref      userRef
	event    parsedEvent
	seq      uint64
	received int64 // Unix milliseconds
}

func (t *table) writeResult(kind jobKind, r *result) error {
	if err := t.open(); err != nil {
		return err
	}
	if t.format == csvTable {
		if kind == userJob {
			return t.csv.Write([]string{r.ref.accountID, r.ref.userID})
		}
		received := strconv.FormatInt(r.received, 10)
		return t.csv.Write([]string{
			r.ref.accountID, r.ref.userID, string(appendEventID(nil, r.received, r.seq)), r.event.key,
			strconv.FormatInt(r.event.triggeredAt(r.received), 10), received, received, string(r.event.fieldsJSON()),
		})
	}
	out := append(t.row[:0], `{"user":{"accountId":`...)
	out = appendString(out, r.ref.accountID)
	out = append(out, `,"id":`...)
	out = appendString(out, r.ref.userID)
	out = append(out, '}')
	if kind == eventJob {
		out = append(out, `,"event":`...)
		out = r.event.appendJSON(out, r.seq, r.received)
	}
	t.row = append(out, "}\n"...)
	_, err := t.out.Write(t.row)
	return err
}

func (t *table) writeError(number int, apiErr *apiError) error {
	if err := t.open(); err != nil {
		return err
	}
	if t.format == csvTable {
		return t.csv.Write([]string{
			strconv.Itoa(number), apiErr.message, apiErr.apiErrorCode, strconv.Itoa(apiErr.status),
		})
	}
	out := append(t.row[:0], `{"recordNumber":`...)
	out = strconv.AppendInt(out, int64(number), 10)
	out = append(out, `,"message":`...)
	out = appendString(out, apiErr.message)
	out = append(out, `,"apiErrorCode":`...)
	out = appendString(out, apiErr.apiErrorCode)
	out = append(out, `,"statusCode":`...)
	out = strconv.AppendInt(out, int64(apiErr.status), 10)
	t.row = append(out, "}\n"...)
	_, err := t.out.Write(t.row)
	return err
}

// finish flushes the rows. A table without rows gets its columns.
func (t *table) finish() error {
	if err := t.open(); err != nil {
		return err
	}
	if t.csv != nil {
		t.csv.Flush()
		if err := t.csv.Error(); err != nil {
			return err
		}
	}
	return t.out.Flush()
}

// keep ends the writing. From then on the spool may evict the file.
func (t *table) keep() { t.file.unpin() }

// drop removes the file, if there is one.
func (t *table) drop() {
	if t.file != nil {
		t.file.drop()
	}
}

var (
	errJobNotFound = &apiError{http.StatusNotFound, "Job not found.", "JOB_NOT_FOUND", ""}
	// errLinkExpired: the 30 days are published, 410 is assumed.
	errLinkExpired = &apiError{http.StatusGone, "The link has expired.", "LINK_EXPIRED", ""}
)

// publicLink returns the tenant of a download whose link has a valid token instead of the API key.
func (s *Server) publicLink(a *attempt) *tenant {
	if a.call.endpoint != downloadFile {
		return nil
	}
	token := a.request.URL.Query().Get("token")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[a.call.tenant]
	if t == nil {
		return nil
	}
	j := t.jobs[a.call.job]
	if j == nil || subtle.ConstantTimeCompare([]byte(token), []byte(j.linkToken)) != 1 {
		return nil
	}
	return t
}

// download sends a file of a completed job.
func (s *Server) download(t *tenant, a *attempt) answer {
	s.runJobs()
	view, apiErr := s.findJob(t, a.call.job)
	if apiErr != nil {
		return apiErr.answer(a.scratch)
	}
	var file *spooled
	contentType := view.job.spec.format.contentType()
	switch {
	case view.status != jobCompleted:
		return errJobNotFound.answer(a.scratch)
	case !view.linked:
		return errLinkExpired.answer(a.scratch)
	case a.call.file == resultsFile:
		file = view.job.done.file
	case a.call.file == errorsFile:
		file = view.job.failed.file
	case a.call.file == sourceFile:
		file, contentType = view.job.spec.upload.file, jsonlTable.contentType()
	default:
		return errNoEndpoint.answer(a.scratch)
	}
	if !file.kept() {
		return errLinkExpired.answer(a.scratch)
	}
	content, size := file.reader()
	return answer{status: http.StatusOK, contentType: contentType, content: content, size: size}
}
