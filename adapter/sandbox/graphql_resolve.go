package sandbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/graph-gophers/graphql-go"
)

// resolver resolves the fields of Query and Mutation; their arguments and results
// are those of schema.graphql.
type resolver struct{}

// jobArgs are the arguments of validateJobCreation and createJob.
type jobArgs struct {
	JobInput struct {
		Type         scalarJobType
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
	_, faults := call.server.checkJob(call.tenant, args.input())
	return &validationResolver{faults}
}

// CreateJob refuses what ValidateJobCreation finds fault with.
func (*resolver) CreateJob(ctx context.Context, args jobArgs) (*jobResolver, error) {
	call := callOf(ctx)
	order, faults := call.server.checkJob(call.tenant, args.input())
	if len(faults) > 0 {
		return nil, graphQLError{badRequest("%s", strings.Join(faults, " "))}
	}
	view, fault := call.server.createJob(call.tenant, order)
	if fault != nil {
		return nil, graphQLError{fault}
	}
	return &jobResolver{view, call.origin}, nil
}

func (*resolver) Job(ctx context.Context, args struct{ ID graphql.ID }) (*jobResolver, error) {
	call := callOf(ctx)
	view, fault := call.server.findJob(call.tenant, string(args.ID))
	if fault != nil {
		return nil, graphQLError{fault}
	}
	return &jobResolver{view, call.origin}, nil
}

func (*resolver) Tenant(ctx context.Context) *tenantResolver {
	return &tenantResolver{callOf(ctx).tenant.alias}
}

// UserEventKeys are the keys of the events that were accepted.
func (*resolver) UserEventKeys(ctx context.Context) []keyResolver {
	call := callOf(ctx)
	call.server.mu.Lock()
	defer call.server.mu.Unlock()
	return sortedKeys(call.tenant.eventKeys)
}

// CustomFields are the names of custom fields that users have.
func (*resolver) CustomFields(ctx context.Context) []keyResolver {
	call := callOf(ctx)
	call.server.mu.Lock()
	defer call.server.mu.Unlock()
	names := make(map[string]struct{})
	for _, u := range call.tenant.users {
		for name := range u.custom {
			names[name] = struct{}{}
		}
	}
	return sortedKeys(names)
}

// Segments are the segments that users are in.
func (*resolver) Segments(ctx context.Context) []keyResolver {
	call := callOf(ctx)
	call.server.mu.Lock()
	defer call.server.mu.Unlock()
	names := make(map[string]struct{})
	for _, u := range call.tenant.users {
		for _, name := range u.segments {
			names[name] = struct{}{}
		}
	}
	return sortedKeys(names)
}

// keyResolver resolves objects that have a key only.
type keyResolver struct{ key string }

func (k keyResolver) Key() string { return k.key }

func sortedKeys(set map[string]struct{}) []keyResolver {
	all := make([]keyResolver, 0, len(set))
	for _, key := range slices.Sorted(maps.Keys(set)) {
		all = append(all, keyResolver{key})
	}
	return all
}

type validationResolver struct{ faults []string }

func (v *validationResolver) Errors() []string { return v.faults }

type tenantResolver struct{ alias string }

func (t *tenantResolver) TenantAlias() string { return t.alias }

// IsLiveMode: test tenants are those whose alias begins with test_.
func (t *tenantResolver) IsLiveMode() bool { return !strings.HasPrefix(t.alias, "test_") }

// RateLimitMultiplier is assumed.
func (t *tenantResolver) RateLimitMultiplier() *float64 {
	one := 1.0
	return &one
}

type jobResolver struct {
	view   jobView
	origin string
}

func (j *jobResolver) ID() graphql.ID             { return graphql.ID(j.view.job.id) }
func (j *jobResolver) Type() scalarJobType        { return scalarJobType(j.view.job.order.kind) }
func (j *jobResolver) Name() *string              { return j.view.job.order.name }
func (j *jobResolver) Requester() *string         { return j.view.job.order.requester }
func (j *jobResolver) Status() string             { return string(j.view.status) }
func (j *jobResolver) DateCreated() scalarDate    { return scalarDate(j.view.job.created.UnixMilli()) }
func (j *jobResolver) Stats() *jobStatsResolver   { return &jobStatsResolver{j.view} }
func (j *jobResolver) DateCompleted() *scalarDate { return j.date(j.view.completed) }
func (j *jobResolver) DateExpires() *scalarDate   { return j.date(j.view.expires()) }

// date is null unless the job is completed, which is assumed of aborted ones.
func (j *jobResolver) date(at time.Time) *scalarDate {
	if j.view.status != jobCompleted {
		return nil
	}
	date := scalarDate(at.UnixMilli())
	return &date
}

// linkArgs: that a link is not public by default is assumed.
type linkArgs struct{ PublicLink *bool }

func (j *jobResolver) DownloadURL(args linkArgs) *string {
	return j.link(resultsFile, args.PublicLink != nil && *args.PublicLink)
}

func (j *jobResolver) DownloadErrorURL(args linkArgs) *string {
	return j.link(errorsFile, args.PublicLink != nil && *args.PublicLink)
}

func (j *jobResolver) DownloadFileRefURL() *string { return j.link(sourceFile, false) }

// link is null before a job is completed and after its links have expired.
func (j *jobResolver) link(file string, public bool) *string {
	if !j.view.linked {
		return nil
	}
	link := j.origin + j.view.jobFilePath(file, public)
	return &link
}

type jobStatsResolver struct{ view jobView }

func (s *jobStatsResolver) RecordsProcessed() int32 { return int32(s.view.processed) }
func (s *jobStatsResolver) Errors() int32           { return int32(s.view.errors) }

// scalarJobType is the scalar JobType.
type scalarJobType string

// ImplementsGraphQLType and UnmarshalGraphQL are the library's interface of scalars.
func (*scalarJobType) ImplementsGraphQLType(name string) bool { return name == "JobType" }

func (t *scalarJobType) UnmarshalGraphQL(input any) error {
	text, ok := input.(string)
	if !ok {
		return errors.New("want a string")
	}
	*t = scalarJobType(text)
	return nil
}

// scalarJSON is the scalar RSJsonNode: what encoding/json decodes any JSON to.
type scalarJSON struct{ value any }

func (*scalarJSON) ImplementsGraphQLType(name string) bool { return name == "RSJsonNode" }

func (s *scalarJSON) UnmarshalGraphQL(input any) error {
	s.value = input
	return nil
}

// scalarDate is the scalar RSDate, in Unix milliseconds.
type scalarDate int64

func (*scalarDate) ImplementsGraphQLType(name string) bool { return name == "RSDate" }

// UnmarshalGraphQL fails: nothing takes a date.
func (*scalarDate) UnmarshalGraphQL(any) error { return errors.New("a date is no input") }
