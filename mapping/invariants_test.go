package mapping_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"segment-saasquatch/mapping"
)

var idempotencyKey = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// checkResult checks the properties of every result, for any event.
func checkResult(t *testing.T, event []byte, r *mapping.Result) {
	t.Helper()
	line := r.AppendJSON(nil)
	if !jsontext.Value(line).IsValid() {
		t.Fatalf("result is not valid JSON:\n%s\nof %q", line, event)
	}
	if bytes.ContainsAny(line, "\n\r") {
		t.Fatalf("result is more than a line: %q", line)
	}
	if !slices.IsSorted(r.Warnings) || len(slices.Compact(slices.Clone(r.Warnings))) != len(r.Warnings) {
		t.Fatalf("warnings are not sorted and unique: %v", r.Warnings)
	}
	toSend := r.Kind == mapping.KindUserEvent || r.Kind == mapping.KindUserUpsert
	if keyed := r.MessageID != "" && r.Keyed(); keyed && r.Identity != 0 ||
		toSend && !keyed && (r.Identity != 0) != (r.MessageID != "") {
		t.Fatalf("identity %d of messageId %q", r.Identity, r.MessageID)
	}
	if r.Kind == mapping.KindUserEvent && r.Keyed() != (r.UserEvent.IdempotencyKey != "") {
		t.Fatalf("keyed %v with the key %q", r.Keyed(), r.UserEvent.IdempotencyKey)
	}
	switch r.Kind {
	case mapping.KindUserEvent:
		checkIDs(t, r.UserEvent.UserID, r.UserEvent.AccountID)
		checkBody(t, r)
		checkImportLine(t, &r.UserEvent)
		checkEnsured(t, r)
	case mapping.KindUserUpsert:
		checkUpserts(t, r)
	case mapping.KindSkip, mapping.KindReject:
		if r.Reason == "" || r.Detail == "" || r.UserEvent.Body != nil || r.Upserts != nil || r.Ensure != 0 {
			t.Fatalf("result without reason or detail, or with a body: %+v", r)
		}
		if len(r.Detail) > 400 {
			t.Fatalf("detail of %d bytes", len(r.Detail))
		}
	default:
		t.Fatalf("result of no kind: %+v", r)
	}
}

// checkIDs checks that the ids are not blank and can stand in the path of a call.
func checkIDs(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		switch {
		case len(id) > mapping.MaxIDBytes, strings.TrimSpace(id) == "", id == ".", id == "..",
			strings.ContainsFunc(id, isC0):
			t.Fatalf("id %q", id)
		}
	}
}

func isC0(r rune) bool { return r < 0x20 || r == 0x7f }

type requestBody struct {
	UserID         *string `json:"userId"`
	AccountID      *string `json:"accountId"`
	IdempotencyKey *string `json:"idempotencyKey"`
	Events         []struct {
		Key           *string                    `json:"key"`
		Fields        map[string]json.RawMessage `json:"fields"`
		DateTriggered *json.Number               `json:"dateTriggered"`
	} `json:"events"`
}

func checkBody(t *testing.T, r *mapping.Result) {
	t.Helper()
	var body requestBody
	if err := json.Unmarshal(r.UserEvent.Body, &body); err != nil {
		t.Fatalf("body does not parse: %v\n%s", err, r.UserEvent.Body)
	}
	if *body.UserID != r.UserEvent.UserID || *body.AccountID != r.UserEvent.AccountID || len(body.Events) != 1 ||
		*body.Events[0].Key != r.UserEvent.Key {
		t.Fatalf("body and result differ:\n%s\n%+v", r.UserEvent.Body, r.UserEvent)
	}
	missing := slices.Contains(r.Warnings, mapping.WarningMessageIDMissing) ||
		slices.Contains(r.Warnings, mapping.WarningMessageIDInvalid)
	switch {
	case body.IdempotencyKey == nil:
		if !missing || r.UserEvent.IdempotencyKey != "" {
			t.Fatalf("no key in the body, yet %+v", r)
		}
	case missing, *body.IdempotencyKey != r.MessageID, !idempotencyKey.MatchString(*body.IdempotencyKey):
		t.Fatalf("key %q of messageId %q", *body.IdempotencyKey, r.MessageID)
	}
	for name, value := range body.Events[0].Fields {
		if !plainName.MatchString(name) {
			t.Fatalf("field name %q", name)
		}
		checkValue(t, value, 0, false)
	}
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// checkValue checks SaaSquatch's published limits on values.
func checkValue(t *testing.T, value json.RawMessage, level int, inArray bool) {
	t.Helper()
	if level > mapping.MaxFieldNesting {
		t.Fatal("a field nests too deep")
	}
	switch value[0] {
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if _, err := strconv.ParseFloat(string(value), 64); err != nil {
			t.Fatalf("number %s: %v", value, err)
		}
	case '"':
		var text string
		if err := json.Unmarshal(value, &text); err != nil || len(text) > mapping.MaxStringBytes {
			t.Fatalf("string of %d bytes: %v", len(text), err)
		}
	case '[':
		if inArray {
			t.Fatal("an array directly inside an array")
		}
		var all []json.RawMessage
		if err := json.Unmarshal(value, &all); err != nil {
			t.Fatal(err)
		}
		for _, element := range all {
			checkValue(t, element, level+1, true)
		}
	case '{':
		var all map[string]json.RawMessage
		if err := json.Unmarshal(value, &all); err != nil {
			t.Fatal(err)
		}
		for _, member := range all {
			checkValue(t, member, level+1, false)
		}
	}
}
