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

// JobInput is what an import job is made of: JobInput in SaaSquatch's GraphQL
// schema.
type JobInput struct {
	// Type is JobTypeUserEvents.
	Type string
	// Name tells the job from others to people and, as it stands in SaaSquatch's
	// list of jobs, to a program that does not know whether a job was made.
	Name string
	// Requester names who asks for the job. Default: left out, which SaaSquatch
	// takes for "API".
	Requester string
	// OutputFormat is the format of results and errors. Default: JobOutputJSONL.
	OutputFormat string
	// FileRef is what SaaSquatch called the file when it was uploaded.
	FileRef string
	// Programs and Webhooks say whether imported events fire programs (rewards,
	// e-mails) and webhooks. Without a word both would fire, so both are always
	// sent.
	Programs, Webhooks bool
	// Analytics says whether imported events count in analytics. Default: left to
	// SaaSquatch.
	Analytics *bool
}

// JobStatus is how far an import job is. The zero value is a status that
// SaaSquatch did not give or that is not known: the job has not ended.
type JobStatus uint8

const (
	// JobPending: the job waits or runs, for up to 30 minutes says SaaSquatch.
	JobPending JobStatus = iota + 1
	// JobCompleted: every record was processed or is among the errors.
	JobCompleted
	// JobAborted: the job ended early and never goes on. Records may have been
	// processed all the same.
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

// Ended reports whether the job will do nothing more.
func (s JobStatus) Ended() bool { return s == JobCompleted || s == JobAborted }

// ImportJob is what SaaSquatch says of an import job.
type ImportJob struct {
	ID        string
	Type      string
	Requester string
	Status    JobStatus
	// RecordsProcessed and Errors count the file's records so far. Whether the
	// first includes the second is not documented.
	RecordsProcessed, Errors int64
	// Created, Completed and Expires are zero if they are not known. After
	// Expires, 30 days on, the files are gone.
	Created, Completed, Expires time.Time
	// ResultsURL and ErrorsURL are where the files are. They are secrets because a
	// signed link needs no other credential; empty if there is no file.
	ResultsURL, ErrorsURL Secret
}

var (
	// ErrNoFile means that a job has no such file: it has not completed, or it
	// has no records of that kind.
	ErrNoFile = errors.New("the import job has no such file")
	// ErrNoJob means that SaaSquatch knows no job of that id.
	ErrNoJob = errors.New("no such import job")
)

// RecordError is one record of an import that SaaSquatch refused.
type RecordError struct {
	// Record is SaaSquatch's recordNumber, -1 if it gives none. Whether counting
	// begins at 0 or 1 is not documented.
	Record int64
	// Message is SaaSquatch's own, printable and cut to 300 bytes. It may quote
	// ids of users: it belongs in a report and in no log.
	Message string
	// APIErrorCode and RSCode are SaaSquatch's codes, empty if it gives none.
	APIErrorCode, RSCode string
	// StatusCode is like an HTTP status, 0 if SaaSquatch gives none. 409 is
	// presumably a record whose idempotency key was used within 24 h.
	StatusCode int
}

// ImportedEvent is one event of an import that SaaSquatch holds now.
type ImportedEvent struct {
	UserID, AccountID string
	// EventID is SaaSquatch's own id of the event.
	EventID string
	// Key is the event's name, such as "purchase".
	Key string
	// DateTriggered is in milliseconds since the epoch, if Timed says that it is
	// known.
	DateTriggered int64
	Timed         bool
}

// TenantMode tells tenants whose data can be wiped from those whose data stays
// and whose programs pay. The zero value is not known.
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
