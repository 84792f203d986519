package sandbox_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter/sandbox"
)

// numbered returns n inputs of events of users u0, u1 and so on, with keys.
func numbered(n int) []map[string]any {
	inputs := make([]map[string]any, n)
	for i := range inputs {
		inputs[i] = eventOf(fmt.Sprint("u", i), fmt.Sprintf("key-%04d", i))
	}
	return inputs
}

// TestFaultsOfItems checks that failures strike each input on its own.
func TestFaultsOfItems(t *testing.T) {
	s := newServer(t, withFaults(sandbox.Faults{BulkItems: true, Fail: []sandbox.FailRule{
		{Rate: 0.2, Status: 503}, {Rate: 0.2, Status: 429}, {Rate: 0.2, Status: 500, After: true}}}))
	counts := map[string]int{}
	accepted := 0
	for range 10 {
		s.Reset()
		for i, got := range bulk(t, s, logEvents, numbered(100)...) {
			if got == fmt.Sprint("u", i) {
				got = "accepted"
			}
			counts[got]++
		}
		stats := s.Stats()
		accepted += int(stats.EventsAccepted)
		if stats.Faults.FailedBefore+stats.Faults.FailedAfter == 0 || stats.ByStatus[200] != 1 ||
			stats.IdempotencyKeys != int(stats.EventsAccepted) {
			t.Errorf("stats: %+v", stats)
		}
	}
	for status, want := range map[string]int{"503 RS014": 200, "429 RS033": 200, "500 RS014": 200, "accepted": 400} {
		if got := counts[status]; got < want-60 || got > want+60 {
			t.Errorf("%d of 1000 inputs are %s, want about %d", got, status, want)
		}
	}
	if got := counts["accepted"] + counts["500 RS014"]; got != accepted {
		t.Errorf("%d events accepted, want %d", accepted, got)
	}
	users := []map[string]any{{"id": "u1", "accountId": "a1"}, {"id": "u2", "accountId": "a1"}}
	struck := 0
	for range 50 {
		for _, got := range bulk(t, s, upsertAll, users...) {
			if got != "u1" && got != "u2" {
				struck++
			}
		}
	}
	if struck < 30 || struck > 90 {
		t.Errorf("%d of 100 upserts failed, want about 60", struck)
	}
}

// TestFaultsOfItemsSpareNoOtherCall checks that other calls fail as a whole, and bulk calls do not.
func TestFaultsOfItemsSpareNoOtherCall(t *testing.T) {
	faults := sandbox.Faults{Fail: []sandbox.FailRule{{Rate: 1, Status: 503}}}
	for _, items := range []bool{false, true} {
		faults.BulkItems = items
		s := newServer(t, withFaults(faults))
		wantStatus(t, send(s, "POST", events, eventBody("")), 503)
		for _, test := range []struct {
			query string
			bulk  bool
		}{
			{`{tenant{tenantAlias}}`, false},
			{`mutation logUserEvents($x: Int) {logUserEvent(userEventInput:{userId:"u",accountId:"a"}){userId}}`,
				false},
			{`mutation {logUserEvents: logUserEvent(userEventInput:{userId:"upsertUsers(",accountId:"a"}){userId}}`,
				false},
			{`{tenant{tenantAlias}} # logUserEvents(`, false},
			{`mutation {logUserEvents(userEventInputs:[]){__typename}}`, true},
			{"mutation {x:upsertUsers,\n# how\n(userInputs:[]){__typename}}", true},
			{"mutation upsertUsers{...f} fragment f on Mutation{upsertUsers(userInputs:[]){__typename}}", true},
		} {
			want := 503
			if items && test.bulk {
				want = 200
			}
			if got := send(s, "POST", graphQLPath, `{"query":`+quote(test.query)+`}`).Code; got != want {
				t.Errorf("items %v, %s: status %d, want %d", items, test.query, got, want)
			}
		}
	}
	// The sandbox resets connections, not inputs.
	faults = sandbox.Faults{BulkItems: true, ResetRate: 1, Lost: sandbox.Before}
	s := newServer(t, withFaults(faults))
	body, _ := json.Marshal(map[string]any{"query": logEvents, "variables": map[string]any{"in": numbered(2)}})
	func() {
		defer func() {
			if r := recover(); r != http.ErrAbortHandler {
				t.Errorf("recovered %v", r)
			}
		}()
		send(s, "POST", graphQLPath, string(body))
	}()
	if stats := s.Stats(); stats.Faults.ResetBefore != 1 || stats.EventsAccepted != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

// TestBulkCallLosesAllOrNothing checks a fault of the whole call, with its effect on keys.
func TestBulkCallLosesAllOrNothing(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, burn := range []bool{false, true} {
			options := withFaults(sandbox.Faults{Fail: []sandbox.FailRule{{Rate: 1, Status: 503, After: after}}})
			options.BurnKeys = burn
			s := newServer(t, options)
			for _, text := range []string{logEvents, upsertAll, logEvent, `mutation($in: UserInput!) {
				upsertUser(userInput: $in) { id } }`,
				`mutation { createJob(jobInput: {type: "MUTATION/USER"}) { id } }`} {
				var in any = eventOf("u", "key-single")
				switch text {
				case logEvents:
					in = numbered(3)
				case upsertAll:
					in = []any{map[string]any{"id": "u1", "accountId": "a1"}}
				case logEvent:
				default:
					in = map[string]any{"id": "u2", "accountId": "a1"}
				}
				body, _ := json.Marshal(map[string]any{"query": text, "variables": map[string]any{"in": in}})
				wantStatus(t, send(s, "POST", graphQLPath, string(body)), 503)
			}
			wantEvents, wantKeys, wantUsers := 0, 0, 0
			if after {
				wantEvents, wantUsers = 4, 2
			}
			if after || burn {
				wantKeys = 4
			}
			stats := s.Stats()
			if int(stats.EventsAccepted) != wantEvents || stats.IdempotencyKeys != wantKeys ||
				stats.Users != wantUsers {
				t.Errorf("after %v, burn %v: %+v", after, burn, stats)
			}
		}
	}
}

// TestBurntKeysOfItems checks that an input that is refused or fails uses up its own key.
func TestBurntKeysOfItems(t *testing.T) {
	options := known()
	options.BurnKeys = true
	s := newServer(t, options)
	purchase := map[string]any{"key": "purchase", "fields": map[string]any{"revenue": "1"}}
	inputs := []map[string]any{eventOf("u1", "key-0001"), with(eventOf("u1", "key-0002"), "events", []any{purchase}),
		with(eventOf("u1", "key-0003"), "events", nil)}
	wantItems(t, bulk(t, s, logEvents, inputs...), "404 RS042", "400", "400")
	wantItems(t, bulk(t, s, upsertAll, map[string]any{"id": "u1", "accountId": "a1"}), "u1")
	conflict := "409 IDEMPOTENCY_KEY_CONFLICT"
	wantItems(t, bulk(t, s, logEvents, inputs[0], eventOf("u1", "key-0002"), eventOf("u1", "key-0003")),
		conflict, conflict, conflict)
	if stats := s.Stats(); stats.BurntConflicts != 3 || stats.EventsAccepted != 0 {
		t.Errorf("stats: %+v", stats)
	}

	options.Users = sandbox.AnyUser
	options.Faults = sandbox.Faults{BulkItems: true, Fail: []sandbox.FailRule{{Rate: 1, Status: 503}}}
	s = newServer(t, options)
	wantItems(t, bulk(t, s, logEvents, eventOf("u1", "key-0001")), "503 RS014")
	if stats := s.Stats(); stats.IdempotencyKeys != 1 || stats.EventsAccepted != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

// TestListsAreChanged checks each change of a list, and that the inputs are processed.
func TestListsAreChanged(t *testing.T) {
	const n = 5
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint("u", i))
	}
	for _, test := range []struct {
		change sandbox.ListChange
		right  func(list []string) bool
	}{
		{sandbox.Shuffled, func(list []string) bool {
			sorted := slices.Sorted(slices.Values(list))
			return !slices.Equal(list, want) && slices.Equal(sorted, want)
		}},
		{sandbox.Short, func(list []string) bool { return len(list) == n-1 && !slices.Contains(list, "null") }},
		{sandbox.Long, func(list []string) bool { return len(list) == n+1 && slices.Equal(list[:n], want) }},
		{sandbox.Nulled, func(list []string) bool {
			i := slices.Index(list, "null")
			return len(list) == n && i >= 0 && !slices.Contains(append(list[:i:i], list[i+1:]...), "null")
		}},
		{sandbox.Missing, func(list []string) bool { return list == nil }},
	} {
		s := newServer(t, withFaults(sandbox.Faults{Lists: []sandbox.ListRule{{Rate: 1, Change: test.change}}}))
		for range 20 {
			s.Reset()
			answer := query(t, s, `mutation($in: [UserEventInput!]!) { x: logUserEvents(userEventInputs: $in) {
				... on UserEventResult { userId } } __typename upsertUsers(userInputs: []) { __typename } }`,
				map[string]any{"in": numbered(n)})
			var users []*struct{ UserID string }
			if err := json.Unmarshal(answer.Data["x"], &users); err != nil {
				t.Fatal(err)
			}
			var list []string
			for _, u := range users {
				if u == nil {
					list = append(list, "null")
				} else {
					list = append(list, u.UserID)
				}
			}
			stats := s.Stats()
			if !test.right(list) || len(answer.Errors) > 0 || stats.EventsAccepted != n ||
				stats.Faults.ListsChanged != 1 || string(answer.Data["upsertUsers"]) != "[]" ||
				string(answer.Data["__typename"]) != `"Mutation"` {
				t.Errorf("%s: %v, errors %v, data %s, stats %+v", test.change, list, answer.Errors, answer.Data, stats)
			}
		}
		// Other lists, and lists that are too short, stay.
		s.Reset()
		answer := query(t, s, logEvents, map[string]any{"in": []any{}})
		if got := string(answer.Data["logUserEvents"]); got != "[]" {
			t.Errorf("%s: empty list becomes %s", test.change, got)
		}
		if s.Stats().Faults.ListsChanged != 0 {
			t.Errorf("%s: stats %+v", test.change, s.Stats().Faults)
		}
		query(t, s, `{userEventKeys{data}}`, nil)
		query(t, s, `mutation { upsertUsers(userInputs: [{}]) { nothing } }`, nil)
	}
}

// TestRatesOfLists checks the rates, and that a seed repeats the faults.
func TestRatesOfLists(t *testing.T) {
	run := func() (short, long, whole int, order string) {
		options := withFaults(sandbox.Faults{BulkItems: true, Fail: []sandbox.FailRule{{Rate: 0.1, Status: 503}},
			Lists: []sandbox.ListRule{{Rate: 0.2, Change: sandbox.Short}, {Rate: 0.3, Change: sandbox.Long}}})
		options.Rand = rand.New(rand.NewPCG(1, 2))
		s := newServer(t, options)
		var all strings.Builder
		for range 300 {
			got := bulk(t, s, logEvents, eventOf("u1", ""), eventOf("u2", ""))
			fmt.Fprintln(&all, got)
			switch len(got) {
			case 1:
				short++
			case 2:
				whole++
			case 3:
				long++
			}
		}
		return short, long, whole, all.String()
	}
	short, long, whole, order := run()
	if short < 40 || short > 80 || long < 65 || long > 115 || short+long+whole != 300 {
		t.Errorf("%d short, %d long, %d whole", short, long, whole)
	}
	if _, _, _, again := run(); again != order {
		t.Error("the same seed gives other faults")
	}
}

func TestParseListRule(t *testing.T) {
	for text, want := range map[string]sandbox.ListRule{
		"shuffled":     {Rate: 1, Change: sandbox.Shuffled},
		"5%:short":     {Rate: 0.05, Change: sandbox.Short},
		"0.5:long":     {Rate: 0.5, Change: sandbox.Long},
		"100%:null":    {Rate: 1, Change: sandbox.Nulled},
		"0%:missing":   {Change: sandbox.Missing},
		"missing":      {Rate: 1, Change: sandbox.Missing},
		"1%:shuffled":  {Rate: 0.01, Change: sandbox.Shuffled},
		"0.01:missing": {Rate: 0.01, Change: sandbox.Missing},
	} {
		if got, err := sandbox.ParseListRule(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ":", "5%", "5%:", ":short", "short:5%", "6:short", "Short", "5%:short:after"} {
		if got, err := sandbox.ParseListRule(text); err == nil {
			t.Errorf("%q: read as %+v", text, got)
		}
	}
}

func FuzzParseListRule(f *testing.F) {
	for _, text := range []string{"shuffled", "5%:short", "0.5:null", "x", ":"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := sandbox.ParseListRule(text)
		if err != nil {
			return
		}
		faults := sandbox.Faults{Lists: []sandbox.ListRule{rule}}
		if _, err := sandbox.New(sandbox.Options{Faults: faults}); err != nil {
			t.Errorf("%q is read but not accepted: %v", text, err)
		}
	})
}

func TestNewReportsFaultsOfBulkCalls(t *testing.T) {
	_, err := sandbox.New(sandbox.Options{BulkLimit: -1, Faults: sandbox.Faults{Lists: []sandbox.ListRule{
		{Rate: 2, Change: sandbox.Short}, {Rate: 1, Change: "odd"}}}})
	for _, want := range []string{"bulk limits", "rate 2", "odd", "add up"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not speak of %q: %v", want, err)
		}
	}
}
