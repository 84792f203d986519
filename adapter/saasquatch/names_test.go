package saasquatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
)

// pagedServer serves lists of the names in pages of at most atOnce, and counts the calls.
func pagedServer(t *testing.T, names []string, atOnce int, total bool) (*Importer, *int) {
	t.Helper()
	calls := 0
	return newImporter(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		var request struct {
			Query     string
			Variables struct{ Limit, Offset int }
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		from := min(request.Variables.Offset, len(names))
		page := names[from:min(from+min(request.Variables.Limit, atOnce), len(names))]
		answer := map[string]any{}
		if total {
			answer["totalCount"] = len(names)
		}
		var list string
		switch {
		case strings.Contains(request.Query, "userEventKeys("):
			list, answer["data"] = "userEventKeys", page
		case strings.Contains(request.Query, "customFields("):
			list = "customFields"
			fields := []map[string]string{}
			for _, name := range page {
				fields = append(fields, map[string]string{"key": name})
			}
			answer["data"] = fields
		case strings.Contains(request.Query, "segments("):
			list = "segments"
			segments := []map[string]any{}
			for i, name := range page {
				segments = append(segments, map[string]any{"key": name, "status": []any{"ACTIVE", "ARCHIVED",
					nil}[(from+i)%3]})
			}
			answer["data"] = segments
		default:
			t.Errorf("query %s", request.Query)
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{list: answer}}); err != nil {
			t.Error(err)
		}
	}), &calls
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("name-%05d", i)
	}
	return names
}

// nameLists are the calls that list names.
var nameLists = map[string]func(*Importer, context.Context) ([]string, error){
	"event keys":    (*Importer).EventKeys,
	"custom fields": (*Importer).CustomFields,
	"segments": func(i *Importer, ctx context.Context) ([]string, error) {
		names, _, err := i.Segments(ctx)
		return names, err
	},
}

func TestNamesComeInPages(t *testing.T) {
	for _, test := range []struct {
		names, atOnce int
		total         bool
		calls         int
	}{
		{0, 1000, true, 1},
		{1, 1000, true, 1},
		{100, 1000, true, 1},
		{101, 1000, true, 2},
		{250, 1000, true, 3},
		{250, 20, true, 13}, // a server that gives less than was asked for
		{250, 1000, false, 4},
		{MaxNames, 1000, true, 100},
	} {
		for kind, list := range nameLists {
			names := manyNames(test.names)
			importer, calls := pagedServer(t, names, test.atOnce, test.total)
			got, err := list(importer, t.Context())
			if err != nil || !slices.Equal(got, names) || *calls != test.calls {
				t.Errorf("%d %s by %d: got %d, %v in %d calls, want %d", test.names, kind, test.atOnce, len(got), err,
					*calls, test.calls)
			}
		}
	}
}

func TestArchivedSegments(t *testing.T) {
	importer, _ := pagedServer(t, []string{"a", "b", "c", "d", "e"}, 2, true)
	segments, archived, err := importer.Segments(t.Context())
	if err != nil || !slices.Equal(segments, []string{"a", "b", "c", "d", "e"}) ||
		!slices.Equal(archived, []string{"b", "e"}) {
		t.Errorf("got %q, archived %q, %v", segments, archived, err)
	}
}

func TestNamesThatCannotBeRead(t *testing.T) {
	for name, test := range map[string]struct{ body, text string }{
		"no list":           {`{"data":{"userEventKeys":null}}`, "no list"},
		"no data":           {`{"data":{"userEventKeys":{"totalCount":3}}}`, "no list"},
		"objects":           {`{"data":{"userEventKeys":{"data":[{"key":"a"}]}}}`, "not of the documented form"},
		"the same for ever": {`{"data":{"userEventKeys":{"data":["a","b"],"totalCount":9}}}`, "no new name"},
		"blank for ever":    {`{"data":{"userEventKeys":{"data":[""]}}}`, "no new name"},
		"too many":          {`{"data":{"userEventKeys":{"data":["a"],"totalCount":10001}}}`, "more than 10000"},
		"no JSON":           {`<html>`, "no JSON object"},
		"an error": {`{"data":null,"errors":[{"message":"no","extensions":{"apiError":{"statusCode":403,` +
			`"message":"not allowed"}}}]}`, "not allowed"},
	} {
		importer, _ := graphQLServer(t, test.body)
		names, err := importer.EventKeys(t.Context())
		var failure *adapter.APIError
		if names != nil || !errors.As(err, &failure) || failure.Op != "list event keys" ||
			!strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %q, %v", name, names, err)
		}
	}
	for kind, list := range nameLists {
		importer := newImporter(t, answer(401, `{"message":"no"}`))
		var failure *adapter.APIError
		if _, err := list(importer, t.Context()); !errors.As(err, &failure) || !failure.Misconfigured {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// FuzzNames reads any answer as every page of a list. It ends, and no name comes twice.
func FuzzNames(f *testing.F) {
	f.Add([]byte(`{"data":{"segments":{"data":["a","b","a"],"totalCount":3}}}`))
	f.Add([]byte(`{"data":{"segments":{"data":["a",null,""],"totalCount":-1}}}`))
	f.Add([]byte(`{"data":{"segments":{"data":[]}},"errors":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		calls := 0
		names, err := allNames("list", func(int) (*namesPage[string], error) {
			if calls++; calls > MaxNames+1 {
				t.Fatal("it goes on for ever")
			}
			var data struct {
				List *namesPage[string] `json:"segments"`
			}
			if failure := readAnswer("list", &http.Response{StatusCode: http.StatusOK}, body, &data); failure != nil {
				return nil, failure
			}
			return data.List, nil
		}, func(name string) string { return name })
		sorted := slices.Sorted(slices.Values(names))
		if err == nil && (len(slices.Compact(sorted)) != len(names) || len(names) > MaxNames) {
			t.Errorf("got %q", names)
		}
	})
}
