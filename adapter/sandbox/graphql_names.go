package sandbox

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// maxPage is the largest limit of a list, which is assumed.
const maxPage = 1000

// pageArgs are the arguments of lists.
type pageArgs struct{ Limit, Offset int32 }

// pageOf is a page of the names, which are sorted. That limits
// and offsets out of range are refused is assumed.
func pageOf[V any](all map[string]V, args pageArgs) (*listPage, error) {
	if args.Limit < 0 || args.Limit > maxPage || args.Offset < 0 {
		return nil, graphQLError{badRequest("limit is 0 to %d, offset 0 or more.", maxPage)}
	}
	sorted := slices.Sorted(maps.Keys(all))
	from := min(int(args.Offset), len(sorted))
	return &listPage{sorted[from:min(from+int(args.Limit), len(sorted))], len(sorted)}, nil
}

type listPage struct {
	names []string
	total int
}

// Count is how many elements the page has.
func (p *listPage) Count() int32 { return int32(len(p.names)) }

// TotalCount is how many the whole list has.
func (p *listPage) TotalCount() scalarLong { return scalarLong(p.total) }

// UserEventKeys are the keys of the events that were accepted.
func (*resolver) UserEventKeys(ctx context.Context, args pageArgs) (*keysResolver, error) {
	call := callOf(ctx)
	call.server.mu.Lock()
	defer call.server.mu.Unlock()
	p, err := pageOf(call.tenant.eventKeys, args)
	if err != nil {
		return nil, err
	}
	return &keysResolver{p}, nil
}

type keysResolver struct{ *listPage }

func (r *keysResolver) Data() []string { return r.names }

// CustomFields are the names of custom fields that users have.
func (*resolver) CustomFields(ctx context.Context, args pageArgs) (*fieldsResolver, error) {
	call := callOf(ctx)
	call.server.mu.Lock()
	defer call.server.mu.Unlock()
	names := make(map[string]struct{})
	for _, u := range call.tenant.users {
		for name := range u.custom {
			names[name] = struct{}{}
		}
	}
	p, err := pageOf(names, args)
	if err != nil {
		return nil, err
	}
	return &fieldsResolver{p}, nil
}

type fieldsResolver struct{ *listPage }

func (r *fieldsResolver) Data() []fieldResolver {
	fields := make([]fieldResolver, len(r.names))
	for i, name := range r.names {
		fields[i].key = name
	}
	return fields
}

type fieldResolver struct{ key string }

func (f fieldResolver) Key() string { return f.key }

// Name is that of people's choice, of which the sandbox has none.
func (f fieldResolver) Name() *string { return nil }

// Segments are the segments that users are in.
func (*resolver) Segments(ctx context.Context, args pageArgs) (*segmentsResolver, error) {
	call := callOf(ctx)
	call.server.mu.Lock()
	defer call.server.mu.Unlock()
	users := make(map[string]int)
	for _, u := range call.tenant.users {
		for _, name := range u.segments {
			users[name]++
		}
	}
	p, err := pageOf(users, args)
	if err != nil {
		return nil, err
	}
	return &segmentsResolver{p, users}, nil
}

type segmentsResolver struct {
	*listPage
	users map[string]int
}

func (r *segmentsResolver) Data() []segmentResolver {
	segments := make([]segmentResolver, len(r.names))
	for i, name := range r.names {
		segments[i] = segmentResolver{name, r.users[name]}
	}
	return segments
}

type segmentResolver struct {
	key   string
	users int
}

func (s segmentResolver) Key() scalarSegmentKey         { return scalarSegmentKey(s.key) }
func (s segmentResolver) Name() *string                 { return nil }
func (s segmentResolver) ParticipantsCount() scalarLong { return scalarLong(s.users) }

// Status is ACTIVE: nothing in the sandbox archives a segment.
func (s segmentResolver) Status() *string {
	active := "ACTIVE"
	return &active
}

// scalarSegmentKey is the scalar SegmentKey.
type scalarSegmentKey string

// ImplementsGraphQLType and UnmarshalGraphQL are the library's interface of scalars.
func (*scalarSegmentKey) ImplementsGraphQLType(name string) bool { return name == "SegmentKey" }

// UnmarshalGraphQL fails: nothing takes a key.
func (*scalarSegmentKey) UnmarshalGraphQL(any) error { return errors.New("a SegmentKey is no input") }
