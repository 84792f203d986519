package saasquatch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// maxValidationErrors bounds how many errors ValidateJob returns.
const maxValidationErrors = 100

// ValidateJob asks SaaSquatch for the faults of a job, without creating it. It returns at most 100 errors in
// SaaSquatch's words, printable, each cut to 300 bytes. The call is a GraphQL query, although the documentation's
// prose calls it a mutation.
func (i *Importer) ValidateJob(ctx context.Context, input adapter.JobInput) (faults []string, err error) {
	const op = "validate import job"
	var data struct {
		Result *struct {
			Errors []json.RawMessage `json:"errors"`
		} `json:"validateJobCreation"`
	}
	err = i.graphQL(ctx, op,
		`query validate($jobInput: JobInput!) { validateJobCreation(jobInput: $jobInput) { errors } }`,
		jobVariables(input), &data)
	if err != nil {
		return nil, err
	}
	if data.Result == nil {
		return nil, unreadable(op, http.StatusOK, "the answer has no validateJobCreation")
	}
	for _, fault := range data.Result.Errors {
		if len(faults) == maxValidationErrors {
			break
		}
		faults = append(faults, tidy(jsonText(fault)))
	}
	return faults, nil
}

// CreateJob has SaaSquatch import an uploaded file. Two calls make two jobs. [adapter.APIError.Ambiguous] of an error
// tells whether there may be a job in spite of it. There is none if there was no connection, if the answer is 4xx
// other than 408 and 425, or if GraphQL reports an error of the call and no data. Otherwise only SaaSquatch's list of
// jobs tells.
func (i *Importer) CreateJob(ctx context.Context, input adapter.JobInput) (adapter.ImportJob, error) {
	const op = "create import job"
	var data struct {
		Job *jobAnswer `json:"createJob"`
	}
	err := i.graphQL(ctx, op,
		`mutation create($jobInput: JobInput!) { createJob(jobInput: $jobInput) { id type requester dateCreated } }`,
		jobVariables(input), &data)
	if data.Job != nil && data.Job.ID != "" {
		return data.Job.job(), nil // in spite of an error there is a job
	}
	var failure *adapter.APIError
	switch {
	case data.Job != nil && errors.As(err, &failure):
		failure.Unprocessed = false // there may be a job whose id SaaSquatch could not return
	case err == nil:
		err = unreadable(op, http.StatusOK, "the answer has no id of a job")
	}
	return adapter.ImportJob{}, err
}

// Job returns the state of a job, or [adapter.ErrNoJob] for an unknown id. It is not documented whether SaaSquatch
// knows a job at once after CreateJob.
func (i *Importer) Job(ctx context.Context, id string) (adapter.ImportJob, error) {
	const op = "look up import job"
	var data struct {
		Job *jobAnswer `json:"job"`
	}
	err := i.graphQL(ctx, op,
		`query job($id: ID!) { job(id: $id) { id type requester status dateCreated dateCompleted dateExpires `+
			`stats { recordsProcessed errors } downloadUrl(publicLink: false) downloadErrorUrl(publicLink: false) } }`,
		map[string]string{"id": id}, &data)
	var failure *adapter.APIError
	switch {
	case data.Job != nil && adapter.ParseJobStatus(data.Job.Status) != 0 &&
		data.Job.Status != adapter.JobCompleted.String():
		// An error of another member, perhaps for want of files, must not hide the status.
		err = nil
	case errors.As(err, &failure) && failure.Status == http.StatusNotFound && failure.Reason == mapping.ReasonRefused:
		failure.Err = adapter.ErrNoJob
	case err == nil && data.Job == nil:
		err = &adapter.APIError{
			Op: op, Reason: mapping.ReasonRefused, Message: adapter.ErrNoJob.Error(), Err: adapter.ErrNoJob,
			Unprocessed: true,
		}
	}
	if err != nil {
		return adapter.ImportJob{}, err
	}
	job := data.Job.job()
	job.ID = cmp.Or(job.ID, id)
	return job, nil
}

// TenantMode asks whether the tenant is live.
func (i *Importer) TenantMode(ctx context.Context) (adapter.TenantMode, error) {
	const op = "look up tenant"
	var data struct {
		Tenant struct {
			IsLiveMode *bool `json:"isLiveMode"`
		} `json:"tenant"`
	}
	if err := i.graphQL(ctx, op, `query tenant { tenant { tenantAlias isLiveMode } }`, nil, &data); err != nil {
		return 0, err
	}
	switch live := data.Tenant.IsLiveMode; {
	case live == nil:
		return 0, unreadable(op, http.StatusOK, "the answer does not say whether the tenant is live")
	case *live:
		return adapter.TenantLive, nil
	default:
		return adapter.TenantTest, nil
	}
}

// jobVariables returns the variables of a call with a JobInput.
func jobVariables(input adapter.JobInput) any {
	if input.OutputFormat == "" {
		input.OutputFormat = adapter.JobOutputJSONL
	}
	type evaluation struct {
		Programs  bool  `json:"programs"`
		Webhooks  bool  `json:"webhooks"`
		Analytics *bool `json:"analytics,omitempty"`
	}
	type params struct {
		Evaluation evaluation `json:"importEvaluationOptions"`
	}
	type jobInput struct {
		Type         string `json:"type"`
		Name         string `json:"name,omitempty"`
		Requester    string `json:"requester,omitempty"`
		OutputFormat string `json:"outputFormat"`
		FileRef      string `json:"fileRef"`
		Params       params `json:"params"`
	}
	return map[string]jobInput{"jobInput": {
		input.Type, input.Name, input.Requester, input.OutputFormat, input.FileRef,
		params{evaluation{input.Programs, input.Webhooks, input.Analytics}},
	}}
}

// jobAnswer is SaaSquatch's Job.
type jobAnswer struct {
	ID            string `json:"id"`
	Type          string `json:"type"`
	Requester     string `json:"requester"`
	Status        string `json:"status"`
	DateCreated   rsDate `json:"dateCreated"`
	DateCompleted rsDate `json:"dateCompleted"`
	DateExpires   rsDate `json:"dateExpires"`
	Stats         struct {
		RecordsProcessed int64 `json:"recordsProcessed"`
		Errors           int64 `json:"errors"`
	} `json:"stats"`
	DownloadURL      string `json:"downloadUrl"`
	DownloadErrorURL string `json:"downloadErrorUrl"`
}

func (a *jobAnswer) job() adapter.ImportJob {
	return adapter.ImportJob{
		ID: a.ID, Type: a.Type, Requester: a.Requester,
		Status:           adapter.ParseJobStatus(a.Status),
		RecordsProcessed: a.Stats.RecordsProcessed, Errors: a.Stats.Errors,
		Created: a.DateCreated.Time, Completed: a.DateCompleted.Time, Expires: a.DateExpires.Time,
		ResultsURL: adapter.NewSecret(a.DownloadURL), ErrorsURL: adapter.NewSecret(a.DownloadErrorURL),
	}
}

// rsDate is SaaSquatch's RSDate: milliseconds since the epoch. An unreadable date is the zero time, so that it does
// not cost the rest of an answer.
type rsDate struct{ time.Time }

// UnmarshalJSON never fails.
func (d *rsDate) UnmarshalJSON(text []byte) error {
	if millis, ok := parseMillis(jsonText(text)); ok {
		d.Time = time.UnixMilli(millis).UTC()
	}
	return nil
}

// parseMillis reads milliseconds since the epoch, or a time of RFC 3339.
func parseMillis(text string) (millis int64, ok bool) {
	if millis, err := strconv.ParseInt(text, 10, 64); err == nil {
		return millis, true
	}
	const exact = 1 << 53 // float64 has all integers up to here
	number, err := strconv.ParseFloat(text, 64)
	if err == nil && number == float64(int64(number)) && -exact <= number && number <= exact {
		return int64(number), true
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UnixMilli(), true
	}
	return 0, false
}

// jsonText returns the text of a JSON value: the text of a string, nothing for null, otherwise its JSON.
func jsonText(value json.RawMessage) string {
	var text string
	if !present(value) {
		return ""
	}
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}
