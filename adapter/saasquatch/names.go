package saasquatch

import (
	"context"
	"fmt"
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

const (
	// namesLimit is the size of a page of names. SaaSquatch publishes a default of 20, and no maximum.
	namesLimit = 100
	// MaxNames bounds how many names of one kind are read.
	MaxNames = 10_000
)

// EventKeys returns all event keys that the tenant has seen, in SaaSquatch's order, each once, with one call for each
// 100. More than MaxNames are an error, since a part of them would mislead. Errors are [*adapter.APIError].
//
// The list is GraphQL's userEventKeys, whose elements are strings: UserEventKeyList in the schema that SaaSquatch
// publishes with its documentation.
func (i *Importer) EventKeys(ctx context.Context) ([]string, error) {
	return listNames(ctx, i, "list event keys", "eventKeys", "userEventKeys", "",
		func(key string) string { return key })
}

// CustomFields returns the names of all custom fields that the tenant has, like EventKeys. The list is GraphQL's
// customFields.
func (i *Importer) CustomFields(ctx context.Context) ([]string, error) {
	type field struct {
		Key string `json:"key"`
	}
	return listNames(ctx, i, "list custom fields", "customFields", "customFields", " { key }",
		func(f field) string { return f.Key })
}

// Segments returns the keys of all segments that the tenant has, like EventKeys, and of these the archived ones. The
// list is GraphQL's segments.
func (i *Importer) Segments(ctx context.Context) (segments, archived []string, err error) {
	type segment struct {
		Key    string `json:"key"`
		Status string `json:"status"`
	}
	isArchived := make(map[string]bool)
	segments, err = listNames(ctx, i, "list segments", "segments", "segments", " { key status }",
		func(s segment) string {
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

// namesPage is one page of a list.
type namesPage[T any] struct {
	Data       []T    `json:"data"`
	TotalCount *int64 `json:"totalCount"`
}

// listNames reads all pages of a list, with these members of its elements.
func listNames[T any](
	ctx context.Context, i *Importer, op, query, list, members string, name func(T) string,
) ([]string, error) {
	query = "query " + query + "($limit: Int!, $offset: Int!) { " +
		list + "(limit: $limit, offset: $offset) { data" + members + " totalCount } }"
	return allNames(op, func(offset int) (*namesPage[T], error) {
		var data map[string]*namesPage[T]
		err := i.graphQL(ctx, op, query, map[string]int{"limit": namesLimit, "offset": offset}, &data)
		return data[list], err
	}, name)
}

// allNames asks for pages until it has as many elements as there are or gets an empty page. It counts the elements
// that it got, since a page may be shorter than the limit. A page without a new name is an error, since such pages
// might never end.
func allNames[T any](op string, ask func(offset int) (*namesPage[T], error), name func(T) string) ([]string, error) {
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
		first := offset
		offset += len(page.Data)
		switch total := page.TotalCount; {
		case offset > MaxNames || total != nil && *total > MaxNames:
			return nil, &adapter.APIError{
				Op: op, Reason: mapping.ReasonUnreadableAnswer, Status: http.StatusOK,
				Message: fmt.Sprintf("there are more than %d, the limit", MaxNames),
			}
		case total != nil && int64(offset) >= *total:
			return names, nil
		case len(names) == before:
			return nil, unreadable(op, http.StatusOK, fmt.Sprintf("the page from entry %d on has no new name", first))
		}
	}
}
