package sandbox

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

const (
	// maxRecords is how many records SaaSquatch's guides recommend at most for an
	// import; that more of them abort the job is assumed.
	maxRecords = 500_000
	// jobLife is how long the files of a job can be downloaded, by SaaSquatch's
	// guides; until then their links are valid.
	jobLife = 30 * 24 * time.Hour
)

// RecordBase is the number of an import's first record in its error file.
// SaaSquatch does not publish it.
type RecordBase uint8

const (
	// RecordsFromOne numbers the lines of the file from one.
	RecordsFromOne RecordBase = iota + 1
	// RecordsFromZero numbers them from zero.
	RecordsFromZero
)

// jobKind is the type of a job. Others that SaaSquatch has are not simulated.
type jobKind string

const (
	eventJob jobKind = "MUTATION/USER_EVENT"
	userJob  jobKind = "MUTATION/USER"
)

// jobStatus is a job's status, as SaaSquatch writes it.
type jobStatus string

const (
	jobPending   jobStatus = "PENDING"
	jobCompleted jobStatus = "COMPLETED"
	jobAborted   jobStatus = "ABORTED"
)

// job is an import job.
//
//	PENDING → COMPLETED   when its time has come and every record was read
//	PENDING → ABORTED     on a fault, injected or of the file as a whole
type job struct {
	tenant    *tenant
	id        string
	order     jobOrder
	created   time.Time
	imported  *Import // what its events say of it
	abortAt   int     // records after which it aborts; -1 for none
	linkToken string

	run    sync.Mutex // held to carry out records; guards what follows
	lines  *lineReader
	read   int // records
	fate   fate
	done   *table // results
	failed *table // errors

	// The server's mutex guards what follows.
	status    jobStatus
	processed int
	errors    int
	forgotten bool
}

// jobOrder is what a valid JobInput asks for.
type jobOrder struct {
	kind      jobKind
	name      *string
	requester *string
	format    tableFormat
	upload    *upload
	params    jobParams
}

// jobInput is a JobInput as it came.
type jobInput struct {
	kind                                    string
	name, requester, format, email, fileRef *string
	params                                  any // decoded JSON, nil for none
}

// checkJob judges a JobInput. It returns all faults. Assumed are: which members
// are required beside type, the format CSV where none is given, and that a file's
// content is looked at only when the job is carried out.
func (s *Server) checkJob(t *tenant, input jobInput) (jobOrder, []string) {
	order := jobOrder{kind: jobKind(input.kind), name: input.name, requester: input.requester, format: csvTable}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if order.kind != eventJob && order.kind != userJob {
		fault("type %q is not simulated: want %s or %s.", input.kind, eventJob, userJob)
	}
	if input.format != nil {
		order.format = tableFormat(*input.format)
	}
	if order.format != csvTable && order.format != jsonlTable {
		fault("outputFormat %s is not simulated: want CSV or JSONL.", order.format)
	}
	if input.email != nil && definitions()["email"].schema.Validate(*input.email) != nil {
		fault("mailtoEmail must be an e-mail address.")
	}
	if input.fileRef == nil {
		fault("fileRef is required.")
	} else {
		s.mu.Lock()
		order.upload = t.uploads[*input.fileRef]
		s.mu.Unlock()
		switch {
		case order.upload == nil || !order.upload.file.kept():
			fault("fileRef %q is unknown.", *input.fileRef)
		case path.Ext(order.upload.ref) != ".jsonl":
			fault("fileRef %q: only JSONL is simulated.", *input.fileRef)
		}
	}
	params, more := parseJobParams(order.kind, input.params)
	order.params = params
	return order, append(faults, more...)
}

// createJob queues a job for a valid order.
func (s *Server) createJob(t *tenant, order jobOrder) (jobView, *apiError) {
	j := &job{
		tenant:    t,
		order:     order,
		abortAt:   -1,
		linkToken: rand.Text(),
		status:    jobPending,
		done:      newTable(&s.spool, order.format, resultColumns(order.kind)),
		failed:    newTable(&s.spool, order.format, errorColumns),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.uploads[order.upload.ref] != order.upload || !order.upload.file.pin() {
		return jobView{}, badRequest("fileRef %q is no longer kept.", order.upload.ref)
	}
	if !order.upload.used {
		order.upload.used = true
		order.upload.file.unpin() // the pin of an upload without a job
	}
	j.fate = s.injector.fate(s.jobFaults, s.jobs)
	s.jobs++
	if j.fate.abort {
		if j.abortAt = s.jobFaults.AbortAfter; j.abortAt == 0 {
			j.abortAt = order.upload.lines / 2
		}
		j.abortAt = min(j.abortAt, order.upload.lines)
	}
	j.created = s.now()
	j.id = string(appendEventID(nil, j.created.UnixMilli(), uint64(s.jobs)))
	imported := order.params.Evaluation
	imported.Job = j.id
	j.imported = &imported
	t.jobs[j.id] = j
	s.pending = append(s.pending, j)
	return s.view(j), nil
}

// contentFault reports whether a file cannot be imported at all. That it is
// looked at as a whole only so far is assumed.
func (u *upload) contentFault() bool {
	return u.first != '{' || u.lines > maxRecords
}

// jobView is a job as it stands at one moment.
type jobView struct {
	job       *job
	status    jobStatus
	processed int
	errors    int
	completed time.Time // zero unless the status is COMPLETED
	linked    bool      // the files can be downloaded
}

// view looks at a job. The caller holds the mutex.
func (s *Server) view(j *job) jobView {
	v := jobView{job: j, status: j.status, processed: j.processed, errors: j.errors}
	if j.status == jobCompleted {
		v.completed = j.created.Add(s.jobTime)
		v.linked = s.now().Before(v.expires())
	}
	return v
}

func (v jobView) expires() time.Time { return v.completed.Add(jobLife) }

// findJob returns a tenant's job as it stands.
func (s *Server) findJob(t *tenant, id string) (jobView, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := t.jobs[id]; j != nil {
		return s.view(j), nil
	}
	return jobView{}, errJobNotFound
}

// The files of a job, as they stand in the path of a download.
const (
	resultsFile = "results"
	errorsFile  = "errors"
	sourceFile  = "upload"
)

// jobFilePath is the path of a download. A public one holds the token that stands
// for the API key. The form of both is assumed.
func (v jobView) jobFilePath(file string, public bool) string {
	path := "/api/v1/" + strings.ReplaceAll(url.QueryEscape(v.job.tenant.alias), "+", "%20") + "/export/" + v.job.id + "/download/" + file
	if public {
		path += "?token=" + v.job.linkToken
	}
	return path
}
