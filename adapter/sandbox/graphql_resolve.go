package sandbox

import (
	"context"
	"strings"
	"time"

	"github.com/graph-gophers/graphql-go"
)

// resolver resolves the fields of Query and Mutation in schema.graphql.
type resolver struct{}

// jobArgs are the arguments of validateJobCreation and createJob.
type jobArgs struct {
	JobInput struct {
		Type         scalarText
		Name         *string
		Requester    *string
		OutputFormat *string
		MailtoEmail  *string
		FileRef      *string
		Params       *scalarJSON
	}
}

func (a jobArgs) input() jobInput {
	in := a.JobInput
	input := jobInput{
		kind:      string(in.Type),
		name:      in.Name,
		requester: in.Requester,
		format:    in.OutputFormat,
		email:     in.MailtoEmail,
		fileRef:   in.FileRef,
	}
	if in.Params != nil {
		input.params = in.Params.value
	}
	return input
}

// ValidateJobCreation has no effect: it is a query.
func (*resolver) ValidateJobCreation(ctx context.Context, args jobArgs) *validationResolver {
	call := callOf(ctx)
	_, problems := call.server.checkJob(call.tenant, args.input())
	return &validationResolver{problems}
}

// CreateJob refuses an input with problems.
func (*resolver) CreateJob(ctx context.Context, args jobArgs) (*jobResolver, error) {
	call := callOf(ctx)
	if call.lost {
		return nil, errLost
	}
	order, problems := call.server.checkJob(call.tenant, args.input())
	if len(problems) > 0 {
		return nil, graphQLError{badRequest("%s", strings.Join(problems, " "))}
	}
	view, apiErr := call.server.createJob(call.tenant, order)
	if apiErr != nil {
		return nil, graphQLError{apiErr}
	}
	return &jobResolver{view, call.origin}, nil
}

func (*resolver) Job(ctx context.Context, args struct{ ID graphql.ID }) (*jobResolver, error) {
	call := callOf(ctx)
	view, apiErr := call.server.findJob(call.tenant, string(args.ID))
	if apiErr != nil {
		return nil, graphQLError{apiErr}
	}
	return &jobResolver{view, call.origin}, nil
}

func (*resolver) Tenant(ctx context.Context) *tenantResolver {
	return &tenantResolver{callOf(ctx).tenant.alias}
}

type validationResolver struct{ problems []string }

func (v *validationResolver) Errors() []string { return v.problems }

type tenantResolver struct{ alias string }

func (t *tenantResolver) TenantAlias() graphql.ID { return graphql.ID(t.alias) }

// IsLiveMode is false for a tenant whose alias begins with test_.
func (t *tenantResolver) IsLiveMode() bool { return !strings.HasPrefix(t.alias, "test_") }

// RateLimitMultiplier is 1, which is assumed.
func (t *tenantResolver) RateLimitMultiplier() *float64 {
	one := 1.0
	return &one
}

type jobResolver struct {
	view   jobView
	origin string
}

func (j *jobResolver) ID() graphql.ID             { return graphql.ID(j.view.job.id) }
func (j *jobResolver) Type() scalarText           { return scalarText(j.view.job.spec.kind) }
func (j *jobResolver) Name() *string              { return j.view.job.spec.name }
func (j *jobResolver) Requester() *string         { return j.view.job.spec.requester }
func (j *jobResolver) Status() string             { return string(j.view.status) }
func (j *jobResolver) Stats() *jobStatsResolver   { return &jobStatsResolver{j.view} }
func (j *jobResolver) DateCompleted() *scalarDate { return j.date(j.view.completed) }
func (j *jobResolver) DateExpires() *scalarDate   { return j.date(j.view.expires()) }

func (j *jobResolver) DateCreated() *scalarDate {
	date := scalarDate(j.view.job.created.UnixMilli())
	return &date
}

// date is null unless the job is completed. Assumed: that holds for aborted jobs.
func (j *jobResolver) date(at time.Time) *scalarDate {
	if j.view.status != jobCompleted {
		return nil
	}
	date := scalarDate(at.UnixMilli())
	return &date
}

type linkArgs struct{ PublicLink bool }

func (j *jobResolver) DownloadURL(args linkArgs) *string { return j.link(resultsFile, args.PublicLink) }

func (j *jobResolver) DownloadErrorURL(args linkArgs) *string {
	return j.link(errorsFile, args.PublicLink)
}

func (j *jobResolver) DownloadFileRefURL(args linkArgs) *string {
	return j.link(sourceFile, args.PublicLink)
}

// link is null unless the job's links are valid.
func (j *jobResolver) link(file string, public bool) *string {
	if !j.view.linked {
		return nil
	}
	link := j.origin + j.view.jobFilePath(file, public)
	return &link
}

type jobStatsResolver struct{ view jobView }

func (s *jobStatsResolver) RecordsProcessed() scalarLong { return scalarLong(s.view.processed) }
func (s *jobStatsResolver) Errors() scalarLong           { return scalarLong(s.view.errors) }
