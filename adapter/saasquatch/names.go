package saasquatch

import (
	"context"
	"fmt"
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

const (
	// namesPage is how many names are asked for at once. SaaSquatch publishes 20 as
	// the default, and no most.
	namesPage = 100
	// MaxNames bounds the names of one kind that are read.
	MaxNames = 10_000
)

// EventKeys returns all event keys that the tenant has seen, in SaaSquatch's
// order, each once, in one call for each 100. More than MaxNames are an error, since
// a part of them would mislead. Errors are [*adapter.APIError].
//
// The list is GraphQL's userEventKeys, whose elements are texts: UserEventKeyList
// in the schema that SaaSquatch publishes with its documentation.
func (i *Importer) EventKeys(ctx context.Context) ([]string, error) {
	const op = "list event keys"
	return allNames(op, func(offset int) (*namesAnswer[string], error) {
		var data struct {
			List *namesAnswer[string] `json:"userEventKeys"`
		}
		err := i.graphQL(ctx, op, `query eventKeys($limit: Int!, $offset: Int!) { userEventKeys(limit: $limit, offset: $offset) { data totalCount } }`,
			pageVariables(offset), &data)
		return data.List, err
	}, func(key string) string { return key })
}

// CustomFields returns the names of all custom fields that the tenant has, like
// EventKeys: GraphQL's customFields.
func (i *Importer) CustomFields(ctx context.Context) ([]string, error) {
	type field struct {
		Key string `json:"key"`
	}
	const op = "list custom fields"
	return allNames(op, func(offset int) (*namesAnswer[field], error) {
		var data struct {
			List *namesAnswer[field] `json:"customFields"`
		}
		err := i.graphQL(ctx, op, `query customFields($limit: Int!, $offset: Int!) { customFields(limit: $limit, offset: $offset) { data { key } totalCount } }`,
			pageVariables(offset), &data)
		return data.List, err
	}, func(f field) string { return f.Key })
}

// Segments returns the keys of all segments that the tenant has, like EventKeys:
// GraphQL's segments. Archived are those of them that the tenant has archived.
func (i *Importer) Segments(ctx context.Context) (segments, archived []string, err error) {
	type segment struct {
		Key    string `json:"key"`
		Status string `json:"status"`
	}
	const op = "list segments"
	isArchived := make(map[string]bool)
	segments, err = allNames(op, func(offset int) (*namesAnswer[segment], error) {
		var data struct {
			List *namesAnswer[segment] `json:"segments"`
		}
		err := i.graphQL(ctx, op, `query segments($limit: Int!, $offset: Int!) { segments(limit: $limit, offset: $offset) { data { key status } totalCount } }`,
			pageVariables(offset), &data)
		return data.List, err
	}, func(s segment) string {
		isArchived[s.Key] = s.Status == "ARCHIVED"
		return s.Key
	})
	for _, key := range segments {
		if isArchived[key] {
			archived = append(archived, key)
		}
	}
	return segments, archived, err
}

func pageVariables(offset int) any {
	return map[string]int{"limit": namesPage, "offset": offset}
}

// namesAnswer is one page of a list.
type namesAnswer[T any] struct {
	Data       []T    `json:"data"`
	TotalCount *int64 `json:"totalCount"`
}

// allNames asks for page after page until it has as many elements as there are, or
// gets an empty page. It goes by what came, since a page may be shorter than was
// asked for; a page without any new name would come for ever.
func allNames[T any](op string, ask func(offset int) (*namesAnswer[T], error), name func(T) string) ([]string, error) {
	var names []string
	seen := make(map[string]bool)
	for offset := 0; ; {
		page, err := ask(offset)
		switch {
		case err != nil:
			return nil, err
		case page == nil || page.Data == nil:
			return nil, unreadable(op, http.StatusOK, "the answer has no list")
		case len(page.Data) == 0:
			return names, nil
		}
		before := len(names)
		for _, element := range page.Data {
			if text := name(element); text != "" && !seen[text] {
				seen[text] = true
				names = append(names, text)
			}
		}
		offset += len(page.Data)
		if offset > MaxNames || page.TotalCount != nil && *page.TotalCount > MaxNames {
			return nil, tooManyNames(op)
		}
		if page.TotalCount != nil && int64(offset) >= *page.TotalCount {
			return names, nil
		}
		if len(names) == before {
			return nil, unreadable(op, http.StatusOK, fmt.Sprintf("the page from entry %d on has no name that was not in those before", offset-len(page.Data)))
		}
	}
}

func tooManyNames(op string) *adapter.APIError {
	return &adapter.APIError{
		Op: op, Reason: mapping.ReasonUnreadableAnswer, Status: http.StatusOK,
		Message: fmt.Sprintf("there are more than %d, which is the most that is read", MaxNames),
	}
}
