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
	// maxRecords is the number of records that SaaSquatch's guides recommend as the limit of an import. Assumed: more
	// records abort the job.
	maxRecords = 500_000
	// jobLife is how long the links to a job's files are valid, by SaaSquatch's guides.
	jobLife = 30 * 24 * time.Hour
)

// RecordBase is the number of an import's first record in its error file. SaaSquatch does not publish it.
type RecordBase uint8

const (
	// RecordsFromOne numbers the lines of the file from one.
	RecordsFromOne RecordBase = iota + 1
	// RecordsFromZero numbers them from zero.
	RecordsFromZero
)

// jobKind is the type of a job. SaaSquatch has more types; the sandbox does not simulate them.
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
//	PENDING → COMPLETED   after its time, with every record read
//	PENDING → ABORTED     by an injected fault, or because the file is not importable
type job struct {
	tenant    *tenant
	id        string
	spec      jobSpec
	created   time.Time
	imported  *Import // shared by its events
	abortAt   int     // number of records after which it aborts; -1 for never
	linkToken string

	run      sync.Mutex // held during an import; guards the fields below
	lines    *lineReader
	read     int // records
	injector jobInjector
	done     *table // results
	failed   *table // errors

	// The server's mutex guards the fields below.
	status    jobStatus
	processed int
	errors    int
	forgotten bool
}

// jobSpec is a valid JobInput.
type jobSpec struct {
	kind      jobKind
	name      *string
	requester *string
	format    tableFormat
	upload    *upload
	params    jobParams
}

// jobInput is an unchecked JobInput.
type jobInput struct {
	kind                                    string
	name, requester, format, email, fileRef *string
	params                                  any // decoded JSON, nil for none
}

// checkJob checks a JobInput. It returns all problems. Assumed: the required members beside type, the default format
// CSV, and that a file's content is checked only when the job runs.
func (s *Server) checkJob(t *tenant, input jobInput) (jobSpec, []string) {
	spec := jobSpec{kind: jobKind(input.kind), name: input.name, requester: input.requester, format: csvTable}
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if spec.kind != eventJob && spec.kind != userJob {
		add("type %q is not simulated: want %s or %s.", input.kind, eventJob, userJob)
	}
	if input.format != nil {
		spec.format = tableFormat(*input.format)
	}
	if spec.format != csvTable && spec.format != jsonlTable {
		add("outputFormat %s is not simulated: want CSV or JSONL.", spec.format)
	}
	if input.email != nil && definitions()["email"].schema.Validate(*input.email) != nil {
		add("mailtoEmail must be an e-mail address.")
	}
	if input.fileRef == nil {
		add("fileRef is required.")
	} else {
		s.mu.Lock()
		spec.upload = t.uploads[*input.fileRef]
		s.mu.Unlock()
		switch {
		case spec.upload == nil || !spec.upload.file.kept():
			add("fileRef %q is unknown.", *input.fileRef)
		case path.Ext(spec.upload.ref) != ".jsonl":
			add("fileRef %q: only JSONL is simulated.", *input.fileRef)
		}
	}
	params, more := parseJobParams(spec.kind, input.params)
	spec.params = params
	return spec, append(problems, more...)
}

// createJob creates a pending job.
func (s *Server) createJob(t *tenant, spec jobSpec) (jobView, *apiError) {
	j := &job{
		tenant:    t,
		spec:      spec,
		abortAt:   -1,
		linkToken: rand.Text(),
		status:    jobPending,
		done:      newTable(&s.spool, spec.format, resultColumns(spec.kind)),
		failed:    newTable(&s.spool, spec.format, errorColumns),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.uploads[spec.upload.ref] != spec.upload || !spec.upload.file.pin() {
		return jobView{}, badRequest("fileRef %q is no longer kept.", spec.upload.ref)
	}
	if !spec.upload.used {
		spec.upload.used = true
		spec.upload.file.unpin() // an upload without a job has a pin of its own
	}
	j.injector = s.injector.forJob(s.jobFaults, s.jobs)
	s.jobs++
	if j.injector.abort {
		if j.abortAt = s.jobFaults.AbortAfter; j.abortAt == 0 {
			j.abortAt = spec.upload.lines / 2
		}
		j.abortAt = min(j.abortAt, spec.upload.lines)
	}
	j.created = s.now()
	j.id = string(appendEventID(nil, j.created.UnixMilli(), uint64(s.jobs)))
	imported := spec.params.Evaluation
	imported.Job = j.id
	j.imported = &imported
	t.jobs[j.id] = j
	s.pending = append(s.pending, j)
	return s.view(j), nil
}

// importable reports whether a file can be imported. Assumed: SaaSquatch makes no other check of the file as a whole.
func (u *upload) importable() bool {
	return u.first == '{' && u.lines <= maxRecords
}

// jobView is a snapshot of a job.
type jobView struct {
	job       *job
	status    jobStatus
	processed int
	errors    int
	completed time.Time // zero unless the status is COMPLETED
	linked    bool      // the links to its files are valid
}

// view returns a snapshot of a job. The caller holds the mutex.
func (s *Server) view(j *job) jobView {
	v := jobView{job: j, status: j.status, processed: j.processed, errors: j.errors}
	if j.status == jobCompleted {
		v.completed = j.created.Add(s.jobTime)
		v.linked = s.now().Before(v.expires())
	}
	return v
}

func (v jobView) expires() time.Time { return v.completed.Add(jobLife) }

// findJob returns a snapshot of a tenant's job.
func (s *Server) findJob(t *tenant, id string) (jobView, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := t.jobs[id]; j != nil {
		return s.view(j), nil
	}
	return jobView{}, errJobNotFound
}

// The names of a job's files in the path of a download.
const (
	resultsFile = "results"
	errorsFile  = "errors"
	sourceFile  = "upload"
)

// jobFilePath is the path of a download. The path of a public link holds a token instead of the API key. Assumed: the
// form of both.
func (v jobView) jobFilePath(file string, public bool) string {
	// url.PathEscape leaves characters such as @ and &.
	alias := strings.ReplaceAll(url.QueryEscape(v.job.tenant.alias), "+", "%20")
	path := "/api/v1/" + alias + "/export/" + v.job.id + "/download/" + file
	if public {
		path += "?token=" + v.job.linkToken
	}
	return path
}
