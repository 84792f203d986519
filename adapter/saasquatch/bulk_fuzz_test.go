package saasquatch

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

func zippedText(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

// FuzzBulkAnswer holds the results of any answer to the rules of trust, as another decoder reads the answer.
func FuzzBulkAnswer(f *testing.F) {
	for _, seed := range []string{
		inList("logUserEvents", taken(0), taken(1), taken(2)),
		inList("logUserEvents", taken(0), apiErr(409, ""), apiErr(404, "RS042")),
		inList("logUserEvents", taken(1), taken(0), apiErr(404, "RS042")),
		inList("logUserEvents", apiErr(409, ""), apiErr(409, ""), apiErr(409, "")),
		inList("logUserEvents", taken(0), "null"),
		`{"errors":[{"message":"no","extensions":{"apiError":{"statusCode":400}}}],"data":null}`,
		`{"extensions":{"apiError":{"statusCode":429,"rsCode":"RS033"}}}`,
		`{"statusCode":404,"apiErrorCode":"TENANT_NOT_FOUND"}`,
		zippedText(inList("logUserEvents", taken(0), taken(1), taken(2))),
		"<html>", "", `{"data":{"logUserEvents":[`,
	} {
		f.Add(200, seed)
		f.Add(400, seed)
	}
	events := bulkEvents(3)
	client, err := New(Options{TenantAlias: "test_tenant", UserAgent: "test"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		client.transport = instant{status, []byte(body)}
		got := client.TrackBulk(t.Context(), events)
		if len(got.Items) != len(events) || got.Call.Requests != 1 || got.Call.Outcome == 0 {
			t.Fatalf("got %+v", got)
		}
		settled := 0
		for i, item := range got.Items {
			if item.Outcome.Settled() {
				settled++
			}
			if item.Outcome == 0 || item.Alone && item.Outcome != adapter.Pending ||
				(item.Reason == "") != (item.Outcome == adapter.Delivered) ||
				got.Divisible && meaningOf(item) != untouched {
				t.Errorf("item %d: %+v", i, item)
			}
		}
		if (settled > 0) != (got.Call.Outcome == adapter.Delivered) || settled == 0 && got.Call.Outcome.Settled() {
			t.Errorf("got %+v", got)
		}
		if settled > 0 {
			checkTrusted(t, status, body, events, got)
		}
	})
}

// checkTrusted checks that an answer may settle items.
func checkTrusted(t *testing.T, status int, body string, events []*mapping.UserEvent, got adapter.BulkAttempt) {
	if strings.HasPrefix(body, "\x1f\x8b") {
		return
	}
	var answer struct {
		Data struct {
			List []struct {
				Type                         string `json:"__typename"`
				UserID, AccountID            string
				StatusCode                   any
				RSCode, APIErrorCode, Reason string
			} `json:"logUserEvents"`
		} `json:"data"`
		Errors []any `json:"errors"`
	}
	// The decoder takes names in another case and values of another kind, which this test leaves alone.
	if err := json.Unmarshal([]byte(strings.TrimPrefix(body, "\ufeff")), &answer); err != nil {
		return
	}
	if status > 299 || len(answer.Data.List) != len(events) || len(answer.Errors) > 0 {
		t.Fatalf("%d %s: trusted: %+v", status, body, got)
	}
	successes := 0
	for i, element := range answer.Data.List {
		switch {
		case element.Type == "UserEventResult":
			successes++
			if element.UserID != events[i].UserID || element.AccountID != events[i].AccountID {
				t.Errorf("%s: result %d is not at its place", body, i)
			}
			if got.Items[i].Outcome != adapter.Delivered {
				t.Errorf("%s: item %d is %+v", body, i, got.Items[i])
			}
		case element.Type != "ApiError" || got.Items[i].Outcome == adapter.Delivered:
			t.Errorf("%s: item %d is %+v", body, i, got.Items[i])
		}
	}
	first := answer.Data.List[0]
	for _, element := range answer.Data.List {
		if successes == 0 && (element.RSCode != first.RSCode || element.APIErrorCode != first.APIErrorCode) {
			t.Errorf("%s: different errors are trusted", body)
		}
	}
}

func TestBulkableUpsert(t *testing.T) {
	for body, want := range map[string]bool{
		`{"id":"u","accountId":"a"}`: true,
		`{"id":"u","accountId":"a","email":"u@example.com","customFields":{"a":[1,{"x":"}"}],"b":"\"}"},` +
			`"segments":["~*"],"locale":null,"referable":true,"referredByCodes":[],"dateUsTaxFormSubmitted":-1}`: true,
		`{"id":"u","accountId":"a","new":1}`:                      false,
		`{"id":"u","accountId":"a","ID":"u"}`:                     false,
		`{"id":"u","accountId":"a","referable":"yes"}`:            false,
		`{"id":"u","accountId":"a","firstName":5}`:                false,
		`{"id":"u","accountId":"a","segments":"vip"}`:             false,
		`{"id":1,"accountId":"a"}`:                                false,
		`{"id":"u","accountId":"a","dateUsTaxFormSubmitted":"1"}`: false,
		`{"\u0069d":"u","accountId":"a"}`:                         false,
		`{"id":"u","accountId":"a"},{"id":"v","accountId":"b"}`:   false,
		`{"id":"u","accountId":"a"}]}}`:                           false,
		`[{"id":"u"}]`:                                            false,
		`{"id":"u","accountId":"a"`:                               false,
		`{"id":"u`:                                                false,
		`{"id":"u\`:                                               false,
		`{"id"`:                                                   false,
		`{"id":}`:                                                 false,
		`{"id":,`:                                                 false,
		`{`:                                                       false,
		``:                                                        false,
	} {
		if got := (*Client)(nil).BulkableUpsert(&mapping.UserUpsert{Body: []byte(body)}); got != want {
			t.Errorf("%s: %t", body, got)
		}
	}
}

// FuzzBulkableUpsert checks the members of each bulkable body that is JSON.
func FuzzBulkableUpsert(f *testing.F) {
	for _, seed := range []string{
		`{"id":"u","accountId":"a","customFields":{"a":[1,{"x":"}"}]}}`, `{"id":"u","new":1}`, `{"id":"u"},{}`,
		`{"id":"\"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		isBulkable := func(body []byte) bool {
			return (*Client)(nil).BulkableUpsert(&mapping.UserUpsert{Body: body})
		}
		bulkable := isBulkable(body)
		var members map[string]json.RawMessage
		if !json.Valid(body) || json.Unmarshal(body, &members) != nil || len(members) == 0 {
			return
		}
		known := true
		for name, value := range members {
			kinds := userInput[`"`+name+`"`]
			known = known && kinds != "" && strings.IndexByte(kinds, value[0]) >= 0
		}
		if bulkable && !known {
			t.Errorf("%s is bulkable", body)
		}
		compact, err := json.Marshal(members)
		if err != nil || known && !isBulkable(compact) {
			t.Errorf("%s is not bulkable (%v)", compact, err)
		}
	})
}

// FuzzBodyValues holds the values of a JSON body to those that a decoder finds.
func FuzzBodyValues(f *testing.F) {
	f.Add(`{"a":"xy","b" : "\u0041\"z","c":[1234,-5.25e3,"",true,{"d":"x"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		got := slices.Collect(bodyValues(body))
		if !jsontext.Value(body).IsValid() {
			return
		}
		if want := decodedValues(body); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", body, got, want)
		}
	})
}

func decodedValues(body string) (values []string) {
	decoder := jsontext.NewDecoder(strings.NewReader(body))
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return values
		}
		kind, length := decoder.StackIndex(decoder.StackDepth())
		switch text := token.String(); {
		case token.Kind() == jsontext.KindNumber && len(text) >= minHidden:
			values = append(values, text)
		case token.Kind() == jsontext.KindString && len(text) > 1 &&
			(kind != jsontext.KindBeginObject || length%2 == 0): // otherwise it is a name
			values = append(values, text)
		}
	}
}
