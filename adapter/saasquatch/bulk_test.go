package saasquatch

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// bulkEvents returns events of the users u0, u1, … in the accounts a0, a1, …, with keys.
func bulkEvents(n int) (events []*mapping.UserEvent) {
	for i := range n {
		user, account, key := fmt.Sprint("u", i), fmt.Sprint("a", i), fmt.Sprintf("key-%05d", i)
		events = append(events, &mapping.UserEvent{
			UserID: user, AccountID: account, Key: "signup", IdempotencyKey: key,
			Body: fmt.Appendf(nil, `{"accountId":%q,"userId":%q,"events":[{"key":"signup"}],"idempotencyKey":%q}`,
				account, user, key),
		})
	}
	return events
}

func bulkUpserts(n int) (upserts []*mapping.UserUpsert) {
	for i := range n {
		user, account := fmt.Sprint("u", i), fmt.Sprint("a", i)
		upserts = append(upserts, &mapping.UserUpsert{UserID: user, AccountID: account,
			Body: fmt.Appendf(nil, `{"id":%q,"accountId":%q,"locale":"en_US"}`, user, account)})
	}
	return upserts
}

// taken returns SaaSquatch's element for event i; made that for upsert i.
func taken(i int) string {
	return fmt.Sprintf(`{"__typename":"UserEventResult","userId":"u%d","accountId":"a%[1]d",`+
		`"events":[{"id":"e%[1]d"}]}`, i)
}

func made(i int) string {
	return fmt.Sprintf(`{"__typename":"User","id":"u%d","accountId":"a%[1]d"}`, i)
}

// apiErr returns SaaSquatch's element for an error.
func apiErr(status int, rsCode string) string {
	return fmt.Sprintf(`{"__typename":"ApiError","message":"No.","statusCode":%d,"rsCode":%q}`, status, rsCode)
}

// inList returns an answer with the elements.
func inList(name string, elements ...string) string {
	return `{"data":{"` + name + `":[` + strings.Join(elements, ",") + `]}}`
}

func answering(t *testing.T, status int, body string) *Client {
	t.Helper()
	return newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// meaning is the part of an attempt that decides what becomes of the item.
type meaning struct {
	outcome                                    adapter.Outcome
	reason                                     mapping.Reason
	misconfigured, foreign, unprocessed, alone bool
}

func meaningOf(a adapter.Attempt) meaning {
	return meaning{a.Outcome, a.Reason, a.Misconfigured, a.Foreign, a.Unprocessed, a.Alone}
}

var (
	delivered   = meaning{outcome: adapter.Delivered}
	duplicate   = meaning{outcome: adapter.Duplicate, reason: mapping.ReasonConflict}
	userUnknown = meaning{outcome: adapter.Dead, reason: mapping.ReasonUserNotFound}
	unsettled   = meaning{outcome: adapter.Pending, reason: mapping.ReasonBulkUnclear, alone: true}
	untouched   = meaning{outcome: adapter.Pending, reason: mapping.ReasonBulkUnclear, alone: true, unprocessed: true}
)

// checkBulk compares the meanings of the items and of the call.
func checkBulk(t *testing.T, got adapter.BulkAttempt, call meaning, items ...meaning) {
	t.Helper()
	if len(got.Items) != len(items) {
		t.Fatalf("got %d items, want %d", len(got.Items), len(items))
	}
	for i, want := range items {
		if is := meaningOf(got.Items[i]); is != want {
			t.Errorf("item %d: got %+v\nwant %+v", i, got.Items[i], want)
		}
		if got.Items[i].Requests != 0 {
			t.Errorf("item %d counts %d requests", i, got.Items[i].Requests)
		}
		if (got.Items[i].Detail == "") != (want.outcome == adapter.Delivered) {
			t.Errorf("item %d: detail %q", i, got.Items[i].Detail)
		}
	}
	if is := meaningOf(got.Call); is != call || got.Call.Requests != 1 {
		t.Errorf("call: got %+v\nwant %+v", got.Call, call)
	}
}

// all returns n times the same meaning.
func all(n int, m meaning) []meaning { return slices.Repeat([]meaning{m}, n) }

// callOf returns the meaning of a call whose items have the meaning.
func callOf(item meaning) meaning {
	item.alone = false
	return item
}

func TestBulkMakesTheDocumentedRequest(t *testing.T) {
	for name, test := range map[string]struct {
		call func(c *Client) adapter.BulkAttempt
		want string
	}{
		"events": {
			func(c *Client) adapter.BulkAttempt { return c.TrackBulk(t.Context(), bulkEvents(2)) },
			`{"query":"mutation logUserEvents($userEventInputs: [UserEventInput!]!) { ` +
				`logUserEvents(userEventInputs: $userEventInputs) { __typename ` +
				`... on UserEventResult { userId accountId events { id } } ` +
				`... on ApiError { message statusCode rsCode } } }","variables":{"userEventInputs":[` +
				`{"accountId":"a0","userId":"u0","events":[{"key":"signup"}],"idempotencyKey":"key-00000"},` +
				`{"accountId":"a1","userId":"u1","events":[{"key":"signup"}],"idempotencyKey":"key-00001"}]}}`,
		},
		"one event": {
			func(c *Client) adapter.BulkAttempt { return c.TrackBulk(t.Context(), bulkEvents(1)) },
			`{"query":"mutation logUserEvents($userEventInputs: [UserEventInput!]!) { ` +
				`logUserEvents(userEventInputs: $userEventInputs) { __typename ` +
				`... on UserEventResult { userId accountId events { id } } ` +
				`... on ApiError { message statusCode rsCode } } }","variables":{"userEventInputs":[` +
				`{"accountId":"a0","userId":"u0","events":[{"key":"signup"}],"idempotencyKey":"key-00000"}]}}`,
		},
		"upserts": {
			func(c *Client) adapter.BulkAttempt { return c.UpsertBulk(t.Context(), bulkUpserts(2)) },
			`{"query":"mutation upsertUsers($userInputs: [UserInput!]!) { ` +
				`upsertUsers(userInputs: $userInputs) { __typename ` +
				`... on User { id accountId } ` +
				`... on ApiError { message statusCode rsCode } } }","variables":{"userInputs":[` +
				`{"id":"u0","accountId":"a0","locale":"en_US"},{"id":"u1","accountId":"a1","locale":"en_US"}]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			test.call(newClient(t, func(_ http.ResponseWriter, r *http.Request) {
				requests++
				body, err := io.ReadAll(r.Body)
				_, password, _ := r.BasicAuth()
				line := fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Header.Get("Content-Type"), " ", password, " ",
					r.ContentLength == int64(len(body)), " ", err)
				const want = "POST /api/v1/test_tenant/graphql application/json " + testKey + " true <nil>"
				if line != want {
					t.Errorf("got  %s\nwant %s", line, want)
				}
				if string(body) != test.want || !json.Valid(body) {
					t.Errorf("got  %s\nwant %s", body, test.want)
				}
			}))
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

func TestBulkBodyIsAReader(t *testing.T) {
	for _, n := range []int{1, 2, 100} {
		var items []item
		var bodies []string
		for _, event := range bulkEvents(n) {
			items = append(items, eventItem(event))
			bodies = append(bodies, string(event.Body))
		}
		body := newBulkBody(eventKind, items)
		want := eventKind.start + strings.Join(bodies, ",") + "]}}"
		if err := iotest.TestReader(body.reader(), []byte(want)); err != nil || body.size() != int64(len(want)) {
			t.Errorf("%d items: size %d, want %d; %v", n, body.size(), len(want), err)
		}
	}
}

// TestTrustInLists holds every list of up to three elements to the rules of trust.
func TestTrustInLists(t *testing.T) {
	const items = 3
	elements := map[string]func(place int) string{
		"own":    taken,
		"next":   func(place int) string { return taken((place + 1) % items) },
		"409":    func(int) string { return apiErr(409, "") },
		"404":    func(int) string { return apiErr(404, "RS042") },
		"null":   func(int) string { return "null" },
		"user":   made,
		"no ids": func(int) string { return `{"__typename":"UserEventResult","events":[{"id":"e"}]}` },
	}
	kinds := []string{"own", "next", "409", "404", "null", "user", "no ids"}
	var answer string
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
	check := func(list []string) {
		var texts []string
		for place, kind := range list {
			texts = append(texts, elements[kind](place))
		}
		answer = inList("logUserEvents", texts...)
		count := func(kind string) (n int) {
			for _, is := range list {
				if is == kind {
					n++
				}
			}
			return n
		}
		want, call := all(items, unsettled), callOf(unsettled)
		if errs := count("404") + count("409"); len(list) == items && count("own")+errs == items &&
			(count("own") > 0 || count("404") == items || count("409") == items) {
			call = delivered
			for place, kind := range list {
				want[place] = map[string]meaning{"own": delivered, "409": duplicate, "404": userUnknown}[kind]
			}
		}
		t.Run(strings.Join(list, ","), func(t *testing.T) {
			checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(items)), call, want...)
		})
	}
	check(nil)
	for _, a := range kinds {
		check([]string{a})
		for _, b := range kinds {
			check([]string{a, b})
			for _, c := range kinds {
				check([]string{a, b, c})
			}
		}
	}
	check([]string{"own", "own", "own", "own"})
	check([]string{"409", "409", "409", "409"})
	check([]string{"own", "own", "409", "409"})
}

// TestSameErrors checks which errors count as the same in a list without a success.
func TestSameErrors(t *testing.T) {
	const conflict = `{"__typename":"ApiError","statusCode":409,"message":"key-00000 was used."}`
	for other, want := range map[string]meaning{
		conflict: duplicate,
		// Its message quotes its own key.
		`{"__typename":"ApiError","statusCode":409,"message":"key-00001 was used."}`:               duplicate,
		`{"__typename":"ApiError","statusCode":404,"message":"key-00000 was used."}`:               unsettled,
		`{"__typename":"ApiError","statusCode":409,"rsCode":"RS050","message":"no"}`:               unsettled,
		`{"__typename":"ApiError","statusCode":409,"apiErrorCode":"BAD_REQUEST","message":"none"}`: unsettled,
	} {
		call := delivered
		if want == unsettled {
			call = callOf(unsettled)
		}
		client := answering(t, 200, inList("logUserEvents", conflict, other))
		checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(2)), call, want, want)
	}
}

// TestUserTwiceInACall checks a call that breaks the rule of one event of a user. Two results of the user may have
// changed places.
func TestUserTwiceInACall(t *testing.T) {
	events := append(bulkEvents(2), bulkEvents(1)...)
	client := answering(t, 200, inList("logUserEvents", taken(0), apiErr(409, ""), apiErr(404, "")))
	checkBulk(t, client.TrackBulk(t.Context(), events), delivered, delivered, duplicate, unsettled)

	client = answering(t, 200, inList("logUserEvents", taken(0), taken(1), taken(0)))
	checkBulk(t, client.TrackBulk(t.Context(), events), delivered, all(3, delivered)...)

	client = answering(t, 200, inList("logUserEvents", slices.Repeat([]string{apiErr(409, "")}, 3)...))
	checkBulk(t, client.TrackBulk(t.Context(), events), delivered, all(3, duplicate)...)
}

// TestEveryItemStatus holds the result of an item to that of a single call, for every status and several codes.
func TestEveryItemStatus(t *testing.T) {
	var status, inElement int
	var code string
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		element := apiErr(inElement, code)
		switch {
		case !strings.HasSuffix(r.URL.Path, "/graphql"):
			w.WriteHeader(status)
			_, _ = io.WriteString(w, element)
		default:
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "upsertUsers") {
				_, _ = io.WriteString(w, inList("upsertUsers", made(0), element))
			} else {
				_, _ = io.WriteString(w, inList("logUserEvents", taken(0), element, taken(2)))
			}
		}
	})
	events, upserts := bulkEvents(3), bulkUpserts(2)
	unkeyed := bulkEvents(3)
	unkeyed[1].IdempotencyKey = ""
	for status = 200; status <= 599; status++ {
		if status == 204 || status == 304 { // REST has no body then
			continue
		}
		inElement = status
		for _, code = range []string{"", "RS023", "RS033", "RS042", "RS045", "RS048", "RS049", "RS050", "new"} {
			for name, call := range map[string]struct {
				bulk   func() adapter.BulkAttempt
				single func() adapter.Attempt
				upsert bool
			}{
				"event": {func() adapter.BulkAttempt { return client.TrackBulk(t.Context(), events) },
					func() adapter.Attempt { return client.Track(t.Context(), events[1]) }, false},
				"unkeyed": {func() adapter.BulkAttempt { return client.TrackBulk(t.Context(), unkeyed) },
					func() adapter.Attempt { return client.Track(t.Context(), unkeyed[1]) }, false},
				"upsert": {func() adapter.BulkAttempt { return client.UpsertBulk(t.Context(), upserts) },
					func() adapter.Attempt { return client.Upsert(t.Context(), upserts[1]) }, true},
			} {
				got, want := call.bulk(), call.single()
				if status <= 299 { // no success, whatever its status; its code may have one
					want = unsettledBy(code, call.upsert, name != "event")
				}
				is, should := meaningOf(got.Items[1]), meaningOf(want)
				if call.upsert && want.Outcome == adapter.Pending {
					should.unprocessed = true
				}
				if want.RefusedFields != nil {
					should = untouched
					if !slices.Equal(got.Items[1].RefusedFields, want.RefusedFields) {
						t.Errorf("%d %s: refused fields %v", status, code, got.Items[1].RefusedFields)
					}
				}
				if is != should || status > 299 && got.Items[1].Status != status {
					t.Errorf("%d %q of an %s:\n got %+v\nwant %+v", status, code, name, got.Items[1], should)
				}
				if meaningOf(got.Items[0]) != delivered || meaningOf(got.Call) != delivered || got.Divisible {
					t.Errorf("%d %q of an %s: got %+v", status, code, name, got)
				}
			}
		}
	}
}

// unsettledBy returns the result of an error without the status of a failure.
func unsettledBy(code string, upsert, unkeyed bool) adapter.Attempt {
	failure := apiError{RSCode: code, stated: true}
	switch {
	case codes[code].status == 0:
		return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear, Alone: true,
			Unprocessed: upsert}
	case upsert:
		return classifyUpsert(codes[code].status, failure, false)
	default:
		return classify(codes[code].status, failure, !unkeyed)
	}
}

// TestEveryWholeStatus checks every HTTP status with several bodies. No item may be settled by it.
func TestEveryWholeStatus(t *testing.T) {
	const list = `"data":{"logUserEvents":[` // of one element
	bodies := map[string]string{
		"none":    "",
		"page":    "<html>Down</html>",
		"error":   `{"statusCode":%d,"message":"no"}`,
		"unknown": `{"statusCode":%d,"rsCode":"RS045"}`,
		"passing": `{"statusCode":%d,"rsCode":"RS049"}`,
		"within":  `{"data":null,"errors":[{"message":"no","extensions":{"apiError":{"statusCode":%d}}}]}`,
		"beside":  `{"errors":[{"message":"no"}],"extensions":{"apiError":{"message":"no","statusCode":%d}}}`,
		"cut":     `{"statusCode":%d,"mess`,
		"partial": `{` + list + taken(0) + `]},` +
			`"errors":[{"message":"no","extensions":{"apiError":{"statusCode":%d}}}]}`,
		"complete": `{` + list + taken(0) + `,` + taken(1) + `]},"extensions":{"apiError":{"statusCode":%d}}}`,
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, inBody := range []bool{false, true} {
				var status int
				client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
					if !inBody {
						w.WriteHeader(status)
					}
					if strings.Contains(body, "%d") {
						fmt.Fprintf(w, body, status)
					} else {
						_, _ = io.WriteString(w, body)
					}
				})
				for status = 300; status <= 599; status++ {
					if status == 304 || inBody && (!strings.Contains(body, "%d") || name == "cut" || status < 400) {
						continue
					}
					got := client.TrackBulk(t.Context(), bulkEvents(2))
					listed := strings.Contains(body, list)
					checkWhole(t, fmt.Sprintf("%d in body: %t", status, inBody), status, got, inBody, listed,
						strings.Contains(body, "RS045"), strings.Contains(body, "RS049"))
				}
			}
		})
	}
}

func checkWhole(
	t *testing.T, name string, status int, got adapter.BulkAttempt, inBody, listed, tenantUnknown, passing bool,
) {
	t.Helper()
	refusal := 400 <= status && status <= 499
	single := classify(status, apiError{stated: true}, false)
	switch {
	case refusal && tenantUnknown && status != 401 && status != 409:
		single = classify(404, apiError{stated: true, RSCode: "RS045"}, false)
	case refusal && passing && single.Outcome == adapter.Dead && status != 409:
		single = classify(500, apiError{stated: true}, false)
	}
	pending := single.Outcome == adapter.Pending
	divisible := !pending && !listed && (status == 400 || status == 413)
	if got.Divisible != divisible {
		t.Errorf("%s: divisible %t", name, got.Divisible)
	}
	if got.Call.Outcome != adapter.Pending || got.Call.Requests != 1 || got.Call.Detail == "" {
		t.Errorf("%s: call %+v", name, got.Call)
	}
	if pending && (got.Call.Reason != single.Reason || got.Call.Misconfigured != single.Misconfigured) {
		t.Errorf("%s: call %+v, want %+v", name, got.Call, single)
	}
	for _, item := range got.Items {
		is := meaningOf(item)
		switch {
		case pending && !listed:
			if is != meaningOf(single) {
				t.Errorf("%s: item %+v, want %+v", name, item, single)
			}
		case is.foreign:
			if is != (meaning{adapter.Pending, mapping.ReasonUnexpectedAnswer, false, true, true, true}) || inBody {
				t.Errorf("%s: item %+v", name, item)
			}
		case divisible, !inBody && !pending && status != 409:
			if is != untouched {
				t.Errorf("%s: item %+v", name, item)
			}
		default:
			if is != unsettled {
				t.Errorf("%s: item %+v", name, item)
			}
		}
	}
}

// TestOddBulkAnswers checks 2xx answers that are no lists of results for two events.
func TestOddBulkAnswers(t *testing.T) {
	unexpected := meaning{outcome: adapter.Pending, reason: mapping.ReasonUnexpectedAnswer}
	serverError := meaning{outcome: adapter.Pending, reason: mapping.ReasonServerError}
	network := meaning{outcome: adapter.Pending, reason: mapping.ReasonNetworkError}
	unclear := callOf(unsettled)
	ok := inList("logUserEvents", taken(0), taken(1))
	const validation = `{"errors":[{"message":"no","extensions":{"classification":"ValidationError"}}]`
	element := func(text string) string { return inList("logUserEvents", taken(0), text) }
	changed := func(old, new string) string { return element(strings.Replace(taken(1), old, new, 1)) }
	for name, test := range map[string]struct {
		body      string
		call      meaning
		item      meaning
		divisible bool
	}{
		"complete":      {ok, delivered, delivered, false},
		"after a BOM":   {"\ufeff " + ok, delivered, delivered, false},
		"with nulls":    {`{"errors":null,"extensions":null,` + ok[1:], delivered, delivered, false},
		"no errors":     {`{"errors":[],"extensions":{},` + ok[1:], delivered, delivered, false},
		"members extra": {`{"new":{"statusCode":500},` + ok[1:], delivered, delivered, false},

		"empty":            {"", unclear, unsettled, false},
		"space":            {" \n", unclear, unsettled, false},
		"page":             {"<html>Down</html>", unexpected, unsettled, false},
		"array":            {"[" + ok + "]", unexpected, unsettled, false},
		"garbage behind":   {ok + "<!-- proxy -->", unexpected, unsettled, false},
		"two answers":      {ok + ok, unexpected, unsettled, false},
		"object that ends": {ok[:len(ok)-2], unexpected, unsettled, false},
		"not gzip":         {"\x1f\x8b" + ok, unexpected, unsettled, false},
		"no data":          {"{}", unclear, unsettled, false},
		"null data":        {`{"data":null}`, unclear, unsettled, false},
		"data a text":      {`{"data":"logUserEvents"}`, unclear, unsettled, false},
		"data a list":      {`{"data":[` + taken(0) + `,` + taken(1) + `]}`, unclear, unsettled, false},
		"no list":          {`{"data":{}}`, unclear, unsettled, false},
		"another list":     {inList("upsertUsers", taken(0), taken(1)), unclear, unsettled, false},
		"null list":        {`{"data":{"logUserEvents":null}}`, unclear, unsettled, false},
		"object for list":  {`{"data":{"logUserEvents":` + taken(0) + `}}`, unclear, unsettled, false},
		"list twice": {`{"data":{"logUserEvents":[` + taken(0) + `],"logUserEvents":[` + taken(1) + `]}}`, unclear,
			unsettled, false},
		"data twice":   {`{"data":null,` + ok[1:], unclear, unsettled, false},
		"errors twice": {`{"errors":[{"message":"no"}],"errors":[],` + ok[1:], unclear, unsettled, false},
		"huge":         {`{"a":"` + strings.Repeat("x", maxGraphQLAnswer) + `",` + ok[1:], unclear, unsettled, false},
		"deep":         {`{"a":` + strings.Repeat("[", 20_000) + `}`, unexpected, unsettled, false},

		"validation":      {validation + `}`, callOf(untouched), untouched, true},
		"validation, nil": {validation + `,"data":null}`, callOf(untouched), untouched, true},
		"message alone":   {`{"errors":[{"message":"no"}]}`, callOf(untouched), untouched, true},
		"executed":        {`{"errors":[{"message":"no"}],"data":null}`, unexpected, unsettled, false},
		"fetch": {`{"errors":[{"message":"no","extensions":{"classification":"DataFetchingException"}}],` +
			`"data":{"logUserEvents":null}}`, serverError, serverError, false},
		"validation, list": {validation + `,` + ok[1:], unclear, unsettled, false},
		"errors no list":   {`{"errors":{"message":"no"},` + ok[1:], unclear, unsettled, false},
		"errors, list": {`{"errors":[{"extensions":{"apiError":{"statusCode":503}}}],` + ok[1:],
			serverError, unsettled, false},
		"beside, list": {`{"extensions":{"apiError":{"statusCode":503}},` + ok[1:], serverError, unsettled, false},
		"throttled, list": {`{"extensions":{"apiError":{"statusCode":429}},` + ok[1:],
			meaning{outcome: adapter.Pending, reason: mapping.ReasonRateLimited}, unsettled, false},
		"bare, list":       {`{"statusCode":503,` + ok[1:], unclear, unsettled, false},
		"statuses as text": {`{"extensions":{"apiError":{"statusCode":"503"}}}`, serverError, serverError, false},
		"bare":             {`{"statusCode":503}`, serverError, serverError, false},
		"bare, null data":  {`{"statusCode":503,"data":null}`, serverError, serverError, false},
		"no status":        {`{"errors":[{"extensions":{"apiError":{}}}]}`, unexpected, unsettled, false},
		"status 302":       {`{"extensions":{"apiError":{"statusCode":302}}}`, unexpected, unsettled, false},
		"unknown code":     {`{"apiErrorCode":"SOMETHING_NEW"}`, unexpected, unsettled, false},
		"conflict":         {`{"extensions":{"apiError":{"statusCode":409}},"data":null}`, unclear, unsettled, false},
		"user unknown":     {`{"extensions":{"apiError":{"rsCode":"RS042"}},"data":null}`, unclear, unsettled, false},
		"do not track": {`{"extensions":{"apiError":{"rsCode":"RS050"}},"data":null}`,
			callOf(untouched), untouched, true},

		"no type":       {element(`{"userId":"u1","accountId":"a1"}`), unclear, unsettled, false},
		"wrong type":    {changed("UserEventResult", "User"), unclear, unsettled, false},
		"type twice":    {element(`{"__typename":"ApiError",` + taken(1)[1:]), unclear, unsettled, false},
		"no user":       {element(`{"__typename":"UserEventResult","accountId":"a1"}`), unclear, unsettled, false},
		"no account":    {element(`{"__typename":"UserEventResult","userId":"u1"}`), unclear, unsettled, false},
		"user twice":    {element(`{"userId":"u0",` + taken(1)[1:]), unclear, unsettled, false},
		"null user":     {changed(`"u1"`, "null"), unclear, unsettled, false},
		"other account": {changed(`"a1"`, `"a0"`), unclear, unsettled, false},
		"number user":   {changed(`"u1"`, "1"), unclear, unsettled, false},
		"longer user":   {changed(`"u1"`, `"u1 "`), unclear, unsettled, false},
		"other case":    {changed(`"u1"`, `"U1"`), unclear, unsettled, false},
		"escaped":       {changed(`"u1"`, `"\u00751"`), delivered, delivered, false},
		"member more": {element(`{"x":[1],"message":"ok","statusCode":200,` + taken(1)[1:]), delivered,
			delivered, false},
		"success and error": {element(`{"statusCode":409,` + taken(1)[1:]), unclear, unsettled, false},
		"error of another": {element(strings.Replace(apiErr(409, ""), "{", `{"userId":"u0",`, 1)), unclear, unsettled,
			false},
		"error in an error": {`{"data":{"logUserEvents":[{"__typename":"ApiError","x":{"statusCode":409}},` +
			`{"__typename":"ApiError","x":{"statusCode":409}}]}}`, unclear, unsettled, false},
		"text element":   {element(`"ok"`), unclear, unsettled, false},
		"nested element": {element(`[` + taken(1) + `]`), unclear, unsettled, false},
		"zipped":         {zippedText(ok), delivered, delivered, false},
		"zipped and cut": {zippedText(ok)[:40], network, unsettled, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := answering(t, 200, test.body).TrackBulk(t.Context(), bulkEvents(2))
			checkBulk(t, got, test.call, all(2, test.item)...)
			if got.Divisible != test.divisible {
				t.Errorf("divisible: %t", got.Divisible)
			}
		})
	}
}

// TestOddStatusesOfErrors checks statuses of an error beside a success.
func TestOddStatusesOfErrors(t *testing.T) {
	tenantUnknown := meaning{adapter.Pending, mapping.ReasonTenantNotFound, true, false, true, false}
	throttled := meaning{adapter.Pending, mapping.ReasonRateLimited, false, false, true, false}
	for member, want := range map[string]meaning{
		`"statusCode":409`:                     duplicate,
		`"statusCode":"409"`:                   duplicate,
		`"statusCode":409.0`:                   duplicate,
		`"message":null,"statusCode":409`:      duplicate,
		`"rsCode":"RS042"`:                     userUnknown,
		`"statusCode":0,"rsCode":"RS042"`:      userUnknown,
		`"statusCode":409,"statusCode":404`:    unsettled,
		`"message":"no"`:                       unsettled,
		`"statusCode":0`:                       unsettled,
		`"statusCode":200`:                     unsettled,
		`"statusCode":null`:                    unsettled,
		`"statusCode":"x"`:                     unsettled,
		`"statusCode":[409]`:                   unsettled,
		`"statusCode":-409`:                    unsettled,
		`"statusCode":1e999`:                   unsettled,
		`"apiErrorCode":"TENANT_NOT_FOUND"`:    tenantUnknown,
		`"statusCode":503`:                     {outcome: adapter.Pending, reason: mapping.ReasonServerError},
		`"statusCode":408`:                     {outcome: adapter.Pending, reason: mapping.ReasonTimeout},
		`"statusCode":400,"rsCode":"RS050"`:    {outcome: adapter.Dead, reason: mapping.ReasonDoNotTrack},
		`"statusCode":429,"x":{"userId":"u0"}`: throttled,
	} {
		client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			_, _ = io.WriteString(w, inList("logUserEvents", taken(0), `{"__typename":"ApiError",`+member+`}`))
		})
		got := client.TrackBulk(t.Context(), bulkEvents(2))
		is := meaningOf(got.Items[1])
		if strings.Count(member, "statusCode") == 2 {
			checkBulk(t, got, callOf(unsettled), unsettled, unsettled)
		} else if is != want || meaningOf(got.Items[0]) != delivered || meaningOf(got.Call) != delivered ||
			got.Items[1].RetryAfter != 3*time.Second {
			t.Errorf("%s: got %+v\nwant %+v", member, got, want)
		}
	}
}

// TestCommonPendingAnswer checks the call's result if all items have the same answer that passes.
func TestCommonPendingAnswer(t *testing.T) {
	for _, status := range []int{401, 403, 408, 429, 503} {
		client := answering(t, 200, inList("logUserEvents", apiErr(status, ""), apiErr(status, "")))
		want := meaningOf(classify(status, apiError{stated: true}, true))
		checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(2)), want, want, want)
	}
}

// TestUpsertBulk checks the differences to events.
func TestUpsertBulk(t *testing.T) {
	refused := func(a adapter.BulkAttempt) []string { return a.Items[1].RefusedFields }
	for element, want := range map[string]meaning{
		made(1):              delivered,
		apiErr(409, ""):      delivered,
		apiErr(400, "RS048"): delivered,
		apiErr(503, ""):      {adapter.Pending, mapping.ReasonServerError, false, false, true, false},
		apiErr(404, "RS042"): {outcome: adapter.Dead, reason: mapping.ReasonRefused},
		apiErr(404, ""):      {adapter.Pending, mapping.ReasonTenantNotFound, true, false, true, false},
		apiErr(400, "RS050"): {outcome: adapter.Dead, reason: mapping.ReasonDoNotTrack},
		apiErr(400, "RS039"): untouched,
		`{"__typename":"ApiError","statusCode":400,"apiErrorCode":"BAD_REQUEST"}`: untouched,
		apiErr(200, ""): untouched,
	} {
		got := answering(t, 200, inList("upsertUsers", made(0), element)).UpsertBulk(t.Context(), bulkUpserts(2))
		if is := meaningOf(got.Items[1]); is != want || meaningOf(got.Call) != delivered {
			t.Errorf("%s: got %+v\nwant %+v", element, got, want)
		}
		if fields := refused(got); (fields != nil) != (strings.Contains(element, "RS039") ||
			strings.Contains(element, "BAD_REQUEST")) {
			t.Errorf("%s: refused fields %v", element, fields)
		}
	}
	bad := answering(t, 200, inList("upsertUsers", apiErr(400, "RS039"), apiErr(400, "RS039")))
	checkBulk(t, bad.UpsertBulk(t.Context(), bulkUpserts(2)), delivered, untouched, untouched)
	displaced := answering(t, 200, inList("upsertUsers", made(1), made(0)))
	checkBulk(t, displaced.UpsertBulk(t.Context(), bulkUpserts(2)), callOf(untouched), untouched, untouched)
	down := answering(t, 503, "")
	serverError := meaning{adapter.Pending, mapping.ReasonServerError, false, false, true, false}
	checkBulk(t, down.UpsertBulk(t.Context(), bulkUpserts(2)), serverError, serverError, serverError)
	conflict := answering(t, 409, `{"statusCode":409}`)
	checkBulk(t, conflict.UpsertBulk(t.Context(), bulkUpserts(2)), callOf(untouched), untouched, untouched)
}

// TestBulkWithoutAnswer checks failures of the network: the call and all items have them.
func TestBulkWithoutAnswer(t *testing.T) {
	t.Run("reset", func(t *testing.T) {
		client := newClient(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		want := meaning{outcome: adapter.Pending, reason: mapping.ReasonNetworkError}
		got := client.TrackBulk(t.Context(), bulkEvents(2))
		checkBulk(t, got, want, want, want)
		if got.Call.Cause == "" || got.Items[1].Cause != got.Call.Cause {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		release := make(chan struct{})
		client := newClient(t, func(http.ResponseWriter, *http.Request) { <-release })
		defer close(release)
		client.timeout = 20 * time.Millisecond
		want := meaning{outcome: adapter.Pending, reason: mapping.ReasonTimeout}
		checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(2)), want, want, want)
	})
	t.Run("refused", func(t *testing.T) {
		client := newClient(t, nil)
		client.host = "127.0.0.1:1"
		want := meaning{outcome: adapter.Pending, reason: mapping.ReasonNetworkError, unprocessed: true}
		checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(2)), want, want, want)
	})
	t.Run("breaks off", func(t *testing.T) {
		client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, inList("logUserEvents", taken(0), taken(1)))
		})
		want := meaning{outcome: adapter.Pending, reason: mapping.ReasonNetworkError}
		checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(2)), want, unsettled, unsettled)
	})
	t.Run("stalls", func(t *testing.T) {
		release := make(chan struct{})
		client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":`)
			_ = http.NewResponseController(w).Flush()
			<-release
		})
		defer close(release)
		client.timeout = 50 * time.Millisecond
		want := meaning{outcome: adapter.Pending, reason: mapping.ReasonTimeout}
		checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(2)), want, unsettled, unsettled)
	})
	t.Run("redirect", func(t *testing.T) {
		requests := 0
		client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			requests++
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		})
		want := meaning{adapter.Pending, mapping.ReasonRedirected, true, false, true, false}
		checkBulk(t, client.TrackBulk(t.Context(), bulkEvents(2)), want, want, want)
		if requests != 1 {
			t.Errorf("%d requests", requests)
		}
	})
}

// TestBulkDetailsTellNoIDs checks answers that quote another item of the call, and the API key.
func TestBulkDetailsTellNoIDs(t *testing.T) {
	events := []*mapping.UserEvent{
		{UserID: "first-user", AccountID: "first-account", Key: "signup", IdempotencyKey: "first-key",
			Body: []byte(`{"userId":"first-user","accountId":"first-account","events":[{"key":"signup",` +
				`"fields":{"plan":"gold plated"}}],"idempotencyKey":"first-key"}`)},
		{UserID: "user two", AccountID: "user two", Key: "purchase", IdempotencyKey: "second-key",
			Body: []byte(`{"userId":"user two","accountId":"user two","events":[{"key":"purchase",` +
				`"fields":{"total":1234567,"note":"say \"hi\""}}],"idempotencyKey":"second-key"}`)},
	}
	const quoted = `first-user first-account FIRST-KEY gold plated user two user+two second-key 1234567 ` +
		`say \"hi\" signup purchase ` + testKey
	const hidden = `[id] [id] [value] [value] [id] [id] [value] [value] [value] signup purchase [secret]`
	user := func(i int) string {
		return fmt.Sprintf(`{"__typename":"UserEventResult","userId":%q,"accountId":%q}`, events[i].UserID,
			events[i].AccountID)
	}
	failure := `{"message":"` + quoted + `","statusCode":503}`
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"item": {200, inList("logUserEvents", user(0), `{"__typename":"ApiError",`+failure[1:]),
			"HTTP 200 stating 503 " + hidden},
		"code": {200, inList("logUserEvents", user(0), `{"__typename":"ApiError","rsCode":"first-user",`+failure[1:]),
			"HTTP 200 stating 503 [id] " + hidden},
		"within": {200, `{"errors":[{"extensions":{"apiError":` + failure + `}}]}`, "HTTP 200 stating 503 " + hidden},
		"REST":   {503, failure, "HTTP 503 " + hidden},
		"page": {200, "<p>" + strings.ReplaceAll(quoted, `\"`, `&quot;`) + "</p>",
			"HTTP 200, which is not SaaSquatch's answer: application/json, <p>" + hidden + "</p>"},
	} {
		t.Run(name, func(t *testing.T) {
			got := answering(t, test.status, test.body).TrackBulk(t.Context(), events)
			if got.Items[1].Detail != test.want {
				t.Errorf("got  %s\nwant %s", got.Items[1].Detail, test.want)
			}
		})
	}
	t.Run("long", func(t *testing.T) {
		// The first message is cut off within an id of the other item.
		long := strings.Repeat("x ", maxMessage/2-4) + "first-user"
		body := inList("logUserEvents", user(0), `{"__typename":"ApiError","statusCode":503,"message":"`+long+`"}`)
		got := answering(t, 200, body).TrackBulk(t.Context(), events)
		if strings.Contains(got.Items[1].Detail, "firs") {
			t.Errorf("got %s", got.Items[1].Detail)
		}
	})
}

// TestManyErrorsOfACall checks that each item gets the detail of its own error.
func TestManyErrorsOfACall(t *testing.T) {
	elements := []string{taken(0)}
	for i := 1; i < adapter.MaxBulk; i++ {
		elements = append(elements, fmt.Sprintf(`{"__typename":"ApiError","statusCode":%d,`+
			`"message":"Problem %d with %s."}`, 400+i%3, i, fmt.Sprintf("key-%05d", i)))
	}
	got := answering(t, 200, inList("logUserEvents", elements...)).TrackBulk(t.Context(), bulkEvents(adapter.MaxBulk))
	for i := 1; i < adapter.MaxBulk; i++ {
		want := fmt.Sprintf("HTTP 200 stating %d Problem %d with [value].", 400+i%3, i)
		if got.Items[i].Detail != want || got.Items[i].Status != 400+i%3 {
			t.Errorf("item %d: got %+v\nwant %s", i, got.Items[i], want)
		}
	}
}
