package adapter

import (
	"errors"
	"fmt"
	"time"
)

const (
	// JobTypeUserEvents is the type of a job that imports user events.
	JobTypeUserEvents = "MUTATION/USER_EVENT"
	// JobOutputJSONL asks for results as JSON lines. SaaSquatch also knows CSV
	// and XLSX.
	JobOutputJSONL = "JSONL"
)

// JobInput describes an import job to create: JobInput in SaaSquatch's GraphQL schema.
type JobInput struct {
	// Type is JobTypeUserEvents.
	Type string
	// Name identifies the job to people. It stands in SaaSquatch's list of jobs, where a program
	// that does not know whether its job was created can find it.
	Name string
	// Requester names the origin of the job. Default: none, which SaaSquatch takes for "API".
	Requester string
	// OutputFormat is the format of results and errors. Default: JobOutputJSONL.
	OutputFormat string
	// FileRef is the name that SaaSquatch gave the file at its upload.
	FileRef string
	// Programs and Webhooks say whether imported events fire programs (rewards, e-mails) and
	// webhooks. SaaSquatch fires both unless told otherwise, so both are always sent.
	Programs, Webhooks bool
	// Analytics says whether imported events count in analytics. Default: left to
	// SaaSquatch.
	Analytics *bool
}

// JobStatus is the status of an import job. The zero value is a status that is missing or unknown:
// the job has not ended.
type JobStatus uint8

const (
	// JobPending: the job waits or runs, for up to 30 minutes by SaaSquatch's documentation.
	JobPending JobStatus = iota + 1
	// JobCompleted: every record was processed or is among the errors.
	JobCompleted
	// JobAborted: the job ended early for good. It may have processed records.
	JobAborted
)

var jobStatusNames = [...]string{JobPending: "PENDING", JobCompleted: "COMPLETED", JobAborted: "ABORTED"}

// ParseJobStatus returns the status of SaaSquatch's name, 0 if it is unknown.
func ParseJobStatus(name string) JobStatus {
	for status, known := range jobStatusNames {
		if known == name && status != 0 {
			return JobStatus(status)
		}
	}
	return 0
}

// String returns SaaSquatch's name of the status, such as "PENDING".
func (s JobStatus) String() string {
	if s == 0 || int(s) >= len(jobStatusNames) {
		return fmt.Sprintf("JobStatus(%d)", uint8(s))
	}
	return jobStatusNames[s]
}

// Ended reports whether the job has ended.
func (s JobStatus) Ended() bool { return s == JobCompleted || s == JobAborted }

// ImportJob describes an import job, as SaaSquatch reports it.
type ImportJob struct {
	ID        string
	Type      string
	Requester string
	Status    JobStatus
	// RecordsProcessed and Errors count the file's records so far. SaaSquatch does not document
	// whether the first includes the second.
	RecordsProcessed, Errors int64
	// Created, Completed and Expires are zero if they are unknown. After Expires, 30 days later,
	// the files are gone.
	Created, Completed, Expires time.Time
	// ResultsURL and ErrorsURL are the addresses of the files; empty if there is no file. They are
	// secrets because a signed link needs no other credential.
	ResultsURL, ErrorsURL Secret
}

var (
	// ErrNoFile means that a job has no such file: it has not completed, or has no records of that
	// kind.
	ErrNoFile = errors.New("the import job has no such file")
	// ErrNoJob means that SaaSquatch has no job with that id.
	ErrNoJob = errors.New("no such import job")
)

// RecordError is one record of an import that SaaSquatch refused.
type RecordError struct {
	// Record is SaaSquatch's recordNumber, -1 if it gives none. SaaSquatch does not document whether
	// it counts from 0 or 1.
	Record int64
	// Message is SaaSquatch's own, printable and cut to 300 bytes. It may quote ids of users, so it
	// belongs in a report and not in a log.
	Message string
	// APIErrorCode and RSCode are SaaSquatch's codes, empty if it gives none.
	APIErrorCode, RSCode string
	// StatusCode is like an HTTP status, 0 if SaaSquatch gives none. 409 is presumably a record
	// whose idempotency key was used within 24 h.
	StatusCode int
}

// ImportedEvent is one event of an import that SaaSquatch holds now.
type ImportedEvent struct {
	UserID, AccountID string
	// EventID is SaaSquatch's own id of the event.
	EventID string
	// Key is the event's name, such as "purchase".
	Key string
	// DateTriggered is in milliseconds since 1970. It is known if Timed is true.
	DateTriggered int64
	Timed         bool
}

// TenantMode distinguishes test tenants, whose data can be wiped, from live ones, whose data stays
// and whose programs pay. The zero value is unknown.
type TenantMode uint8

const (
	// TenantTest is a test tenant.
	TenantTest TenantMode = iota + 1
	// TenantLive is a live tenant: what was imported cannot be deleted.
	TenantLive
)

// String returns "test", "live" or "unknown".
func (m TenantMode) String() string {
	switch m {
	case TenantTest:
		return "test"
	case TenantLive:
		return "live"
	default:
		return "unknown"
	}
}
