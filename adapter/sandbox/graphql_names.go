package sandbox

import (
	"context"
	"maps"
	"slices"
)

// maxPage is the largest limit of a list. It is assumed.
const maxPage = 1000

// pageArgs are the arguments of lists.
type pageArgs struct{ Limit, Offset int32 }

// listPage is a page of a list that is sorted by name.
type listPage[T any] struct {
	data  []T
	total int
}

// pageOf returns a page of the elements that collect returns by name. collect runs under the server's mutex. Assumed:
// limits and offsets out of range are refused.
func pageOf[T any](ctx context.Context, args pageArgs, collect func(*tenant) map[string]T) (*listPage[T], error) {
	if args.Limit < 0 || args.Limit > maxPage || args.Offset < 0 {
		return nil, graphQLError{badRequest("limit must be 0 to %d, and offset at least 0.", maxPage)}
	}
	call := callOf(ctx)
	call.server.mu.Lock()
	defer call.server.mu.Unlock()
	all := collect(call.tenant)
	names := slices.Sorted(maps.Keys(all))
	from := min(int(args.Offset), len(names))
	names = names[from:min(from+int(args.Limit), len(names))]
	page := &listPage[T]{make([]T, len(names)), len(all)}
	for i, name := range names {
		page.data[i] = all[name]
	}
	return page, nil
}

func (p *listPage[T]) Data() []T { return p.data }

// Count is the number of elements of the page.
func (p *listPage[T]) Count() int32 { return int32(len(p.data)) }

// TotalCount is the number of elements of the whole list.
func (p *listPage[T]) TotalCount() scalarLong { return scalarLong(p.total) }

// UserEventKeys are the keys of the accepted events.
func (*resolver) UserEventKeys(ctx context.Context, args pageArgs) (*listPage[string], error) {
	return pageOf(ctx, args, func(t *tenant) map[string]string {
		keys := make(map[string]string, len(t.eventKeys))
		for key := range t.eventKeys {
			keys[key] = key
		}
		return keys
	})
}

// CustomFields are the names of the custom fields of users.
func (*resolver) CustomFields(ctx context.Context, args pageArgs) (*listPage[fieldResolver], error) {
	return pageOf(ctx, args, func(t *tenant) map[string]fieldResolver {
		fields := make(map[string]fieldResolver)
		for _, u := range t.users {
			for name := range u.custom {
				fields[name] = fieldResolver{name}
			}
		}
		return fields
	})
}

type fieldResolver struct{ key string }

func (f fieldResolver) Key() string { return f.key }

// Name is a display name, which the sandbox does not have.
func (f fieldResolver) Name() *string { return nil }

// Segments are the segments with users in them.
func (*resolver) Segments(ctx context.Context, args pageArgs) (*listPage[segmentResolver], error) {
	return pageOf(ctx, args, func(t *tenant) map[string]segmentResolver {
		segments := make(map[string]segmentResolver)
		for _, u := range t.users {
			for _, name := range u.segments {
				segments[name] = segmentResolver{name, segments[name].users + 1}
			}
		}
		return segments
	})
}

type segmentResolver struct {
	key   string
	users int
}

func (s segmentResolver) Key() scalarText               { return scalarText(s.key) }
func (s segmentResolver) Name() *string                 { return nil }
func (s segmentResolver) ParticipantsCount() scalarLong { return scalarLong(s.users) }

// Status is ACTIVE, because the sandbox archives no segment.
func (s segmentResolver) Status() *string {
	active := "ACTIVE"
	return &active
}
