package mapping_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"segment-saasquatch/mapping"
)

var (
	localePattern  = regexp.MustCompile(`^[a-z]{2}_[A-Z]{2}$`)
	segmentPattern = regexp.MustCompile(`^(~?[A-Za-z0-9]+|~\*)$`)
)

// checkUpserts checks the properties of every result of an identify call.
func checkUpserts(t *testing.T, r *mapping.Result) {
	t.Helper()
	if _, ok := r.UserUpsert(); ok || len(r.Upserts) == 0 || r.UserEvent.Body != nil || r.Ensure != 0 ||
		r.Reason != "" || r.Detail != "" {
		t.Fatalf("not just upserts: %+v", r)
	}
	for i := range r.Upserts {
		checkIDs(t, r.Upserts[i].UserID, r.Upserts[i].AccountID)
		body := checkUpsert(t, &r.Upserts[i])
		if r.Upserts[i].UserID != r.Upserts[0].UserID || r.Upserts[i].AccountID != r.Upserts[0].AccountID {
			t.Fatalf("upserts of several users: %+v", r.Upserts)
		}
		last := i == len(r.Upserts)-1
		if full := len(body.CustomFields) == mapping.MaxCustomFields; !last && !full ||
			i > 0 && len(body.CustomFields) == 0 {
			t.Fatalf("upsert %d of %d has %d custom fields", i+1, len(r.Upserts), len(body.CustomFields))
		}
		if i > 0 && !slices.Equal(body.names, []string{"id", "accountId", "customFields"}) {
			t.Fatalf("upsert %d has %q", i+1, body.names)
		}
	}
	for _, warning := range r.Warnings {
		switch warning {
		case mapping.WarningMessageIDInvalid, mapping.WarningMessageIDMissing, mapping.WarningNoTimestamp:
			t.Fatalf("an upsert has neither key nor time, yet %s", warning)
		}
	}
}

// checkEnsured checks the upsert that belongs to an event.
func checkEnsured(t *testing.T, r *mapping.Result) {
	t.Helper()
	upsert, ok := r.UserUpsert()
	switch r.Ensure {
	case mapping.EnsureNever:
		if ok || r.Upserts != nil {
			t.Fatalf("never, yet %+v and %+v", upsert, r.Upserts)
		}
	case mapping.EnsureMissing, mapping.EnsureAlways:
		if !ok || len(r.Upserts) > 1 || upsert.UserID != r.UserEvent.UserID ||
			upsert.AccountID != r.UserEvent.AccountID {
			t.Fatalf("want one upsert of the event's user: %+v", r)
		}
		checkUpsert(t, &upsert)
	default:
		t.Fatalf("an event that says nothing of its user: %+v", r)
	}
}

type upsertBody struct {
	ID              *string                    `json:"id"`
	AccountID       *string                    `json:"accountId"`
	Email           *string                    `json:"email"`
	FirstName       *string                    `json:"firstName"`
	LastName        *string                    `json:"lastName"`
	ImageURL        *string                    `json:"imageUrl"`
	Locale          *string                    `json:"locale"`
	ReferredByCodes []string                   `json:"referredByCodes"`
	CustomFields    map[string]json.RawMessage `json:"customFields"`
	Segments        []string                   `json:"segments"`

	names []string // of all members
}

// checkUpsert checks one body against SaaSquatch's published rules.
func checkUpsert(t *testing.T, upsert *mapping.UserUpsert) (body upsertBody) {
	t.Helper()
	if !jsontext.Value(upsert.Body).IsValid() { // and no name stands twice
		t.Fatalf("not valid JSON: %s", upsert.Body)
	}
	if err := json.Unmarshal(upsert.Body, &body); err != nil {
		t.Fatalf("body does not parse: %v\n%s", err, upsert.Body)
	}
	body.names = memberNames(t, upsert.Body)
	if len(body.names) < 2 || body.names[0] != "id" || body.names[1] != "accountId" {
		t.Fatalf("the ids do not come first: %s", upsert.Body)
	}
	if *body.ID != upsert.UserID || *body.AccountID != upsert.AccountID {
		t.Fatalf("body and upsert differ:\n%s\n%+v", upsert.Body, upsert)
	}
	texts := body.ReferredByCodes
	for _, text := range []*string{body.Email, body.FirstName, body.LastName, body.ImageURL, body.Locale} {
		if text != nil {
			texts = append(texts, *text)
		}
	}
	for _, text := range texts {
		if text == "" || len(text) > mapping.MaxStringBytes || utf8.RuneCountInString(text) > mapping.MaxStringChars {
			t.Fatalf("a text of %d bytes", len(text))
		}
	}
	if body.Locale != nil && !localePattern.MatchString(*body.Locale) {
		t.Fatalf("locale %q", *body.Locale)
	}
	if len(body.CustomFields) > mapping.MaxCustomFields {
		t.Fatalf("%d custom fields", len(body.CustomFields))
	}
	for name, value := range body.CustomFields {
		if !plainName.MatchString(name) {
			t.Fatalf("custom field %q", name)
		}
		if value[0] == '{' || value[0] == '[' {
			t.Fatalf("custom field that is no scalar: %s", value)
		}
		checkValue(t, value, 0, false)
	}
	for _, segment := range body.Segments {
		if !segmentPattern.MatchString(segment) {
			t.Fatalf("segment %q", segment)
		}
	}
	if slices.Contains(body.names, "segments") &&
		(len(body.Segments) == 0 || body.names[len(body.names)-1] != "segments") {
		t.Fatalf("segments are empty or not the last: %s", upsert.Body)
	}
	if slices.Contains(body.names, "referredByCodes") && len(body.ReferredByCodes) == 0 {
		t.Fatalf("no codes: %s", upsert.Body)
	}
	return body
}

// memberNames returns the names of an object in their order.
func memberNames(t *testing.T, object []byte) (names []string) {
	t.Helper()
	decoder := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.ReadToken(); err != nil {
		t.Fatal(err)
	}
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.String())
		if err := decoder.SkipValue(); err != nil {
			t.Fatal(err)
		}
	}
	return names
}
