package mapping_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"segment-saasquatch/mapping"
)

// importLine is UserEventImportLine of SaaSquatch's schemas.
type importLine struct {
	UserID         *string `json:"userId"`
	AccountID      *string `json:"accountId"`
	IdempotencyKey *string `json:"idempotencyKey"`
	Event          *struct {
		Key           *string                    `json:"key"`
		Fields        map[string]json.RawMessage `json:"fields"`
		DateTriggered *int64                     `json:"dateTriggered"`
	} `json:"event"`
}

// checkImportLine checks that the line fits the schema and says the same as the body.
func checkImportLine(t *testing.T, event *mapping.UserEvent) {
	t.Helper()
	text := event.AppendImportLine([]byte("before"))
	text, ok := bytes.CutPrefix(text, []byte("before"))
	if !ok || !jsontext.Value(text).IsValid() || bytes.ContainsAny(text, "\n\r") {
		t.Fatalf("not a line of valid JSON: %s", text)
	}
	var line importLine
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&line); err != nil {
		t.Fatalf("line does not fit the schema: %v\n%s", err, text)
	}
	var body requestBody
	if err := json.Unmarshal(event.Body, &body); err != nil {
		t.Fatal(err)
	}
	sent := body.Events[0]
	if line.Event == nil || !reflect.DeepEqual(
		[]any{line.UserID, line.AccountID, line.IdempotencyKey, line.Event.Key, line.Event.Fields},
		[]any{body.UserID, body.AccountID, body.IdempotencyKey, sent.Key, sent.Fields}) {
		t.Fatalf("line and body differ:\n%s\n%s", text, event.Body)
	}
	if event.Timed != (line.Event.DateTriggered != nil) || event.Timed != (sent.DateTriggered != nil) {
		t.Fatalf("timed=%t:\n%s\n%s", event.Timed, text, event.Body)
	}
	if event.Timed {
		sentAt, err := sent.DateTriggered.Int64()
		if *line.Event.DateTriggered != event.DateTriggered || sentAt != event.DateTriggered || err != nil {
			t.Fatalf("triggered at %d (%v):\n%s\n%s", event.DateTriggered, err, text, event.Body)
		}
	} else if event.DateTriggered != 0 {
		t.Fatalf("not timed, yet at %d", event.DateTriggered)
	}
	// The line must be the same without the mapper's index into the body.
	parsed := mapping.UserEvent{Body: event.Body}
	if again := parsed.AppendImportLine(nil); !bytes.Equal(again, text) {
		t.Fatalf("taken apart:\n%s\nas mapped:\n%s", again, text)
	}
}

func TestImportLine(t *testing.T) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	for event, want := range map[string]string{
		`{"type":"track","userId":"u","event":"Signed Up","messageId":"message-1",` +
			`"timestamp":"2026-10-31T00:00:00.5Z","properties":{"plan":"a","events":[{"x":1}]}}`: `` +
			`{"userId":"u","accountId":"u","idempotencyKey":"message-1","event":{"key":"signedUp",` +
			`"fields":{"plan":"a","events":[{"x":1}]},"dateTriggered":1793404800500}}`,
		`{"type":"track","userId":"]}","event":"e","messageId":"no"}`: `` +
			`{"userId":"]}","accountId":"]}","event":{"key":"e"}}`,
		`{"type":"track","userId":"\"events\":[","event":"e"}`: `` +
			`{"userId":"\"events\":[","accountId":"\"events\":[","event":{"key":"e"}}`,
	} {
		result := mapper.Map([]byte(event), goldenNow)
		checkResult(t, []byte(event), &result)
		if got := string(result.UserEvent.AppendImportLine(nil)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", event, got, want)
		}
	}
}

// TestImportLineOfOtherBodies makes lines of bodies that no mapper made.
func TestImportLineOfOtherBodies(t *testing.T) {
	for body, want := range map[string]string{
		"{ \"events\" : [ {\"key\":\n\"k\"} ], \"accountId\":\"a\", " +
			"\"x\":1, \"userId\":\"u\" }\n": `{"userId":"u","accountId":"a","event":{"key":"k"}}`,
		`{"userId":"u","accountId":"a","idempotencyKey":null,"events":[{"key":"k"}]}`: `` +
			`{"userId":"u","accountId":"a","event":{"key":"k"}}`,
		`{"userId":"u","accountId":"a","events":[{"key":"k"},{"key":"l"}]}`: "",
		`{"userId":"u","accountId":"a","events":[]}`:                        "",
		`{"userId":"u","accountId":"a","events":[1]}`:                       "",
		`{"userId":"u","accountId":"a","events":{}}`:                        "",
		`{"userId":"u","accountId":"a"}`:                                    "",
		`{"userId":1,"accountId":"a","events":[{"key":"k"}]}`:               "",
		`{"userId":"u","events":[{"key":"k"}]}`:                             "",
		`{"userId":"u","accountId":"a","events":[{"key":"k"}]}x`:            "",
		`{"userId":"u","accountId":"a","events":[{"key":"k"}`:               "",
		`[]`: "",
		``:   "",
	} {
		event := mapping.UserEvent{Body: []byte(body)}
		if got := string(event.AppendImportLine(nil)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
		if string(event.Body) != body {
			t.Errorf("the body became %s", event.Body)
		}
	}
}

// TestImportLineOfAChangedBody checks that a body replaced after mapping is not cut at the old index.
func TestImportLineOfAChangedBody(t *testing.T) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	event := mapper.Map([]byte(`{"type":"track","userId":"u","event":"e","messageId":"message-1"}`),
		goldenNow).UserEvent
	for _, body := range []string{`{}`, ``, `{"userId":"a longer one","accountId":"a","events":[{"key":"k"}]}`} {
		event.Body = []byte(body)
		want := mapping.UserEvent{Body: []byte(body)}
		if got := event.AppendImportLine(nil); !bytes.Equal(got, want.AppendImportLine(nil)) {
			t.Errorf("%s became %s", body, got)
		}
	}
}

func BenchmarkAppendImportLine(b *testing.B) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	event := mapper.Map(
		[]byte(`{"type":"track","userId":"u","event":"Signed Up","messageId":"message-1",`+
			`"timestamp":"2026-10-31T00:00:00Z","properties":{"plan":"a"}}`), benchNow).UserEvent
	b.ReportAllocs()
	var line []byte
	for b.Loop() {
		line = event.AppendImportLine(line[:0])
	}
}
