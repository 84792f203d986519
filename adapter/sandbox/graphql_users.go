package sandbox

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/graph-gophers/graphql-go"
)

// userInput is the input UserInput. As JSON it is the body of an upsert. Assumed: null is the same as no value.
type userInput struct {
	ID                     *string         `json:"id,omitzero"`
	AccountID              *string         `json:"accountId,omitzero"`
	FirstName              *string         `json:"firstName,omitzero"`
	LastName               *string         `json:"lastName,omitzero"`
	LastInitial            *string         `json:"-"`
	ReferralCode           *string         `json:"referralCode,omitzero"`
	ReferralCodes          *scalarJSON     `json:"referralCodes,omitzero"`
	ShareLinks             *scalarJSON     `json:"shareLinks,omitzero"`
	ImageURL               *string         `json:"imageUrl,omitzero"`
	Email                  *string         `json:"email,omitzero"`
	CookieID               *string         `json:"-"`
	PaymentProviderID      *string         `json:"paymentProviderId,omitzero"`
	Locale                 *scalarText     `json:"locale,omitzero"`
	CountryCode            *scalarText     `json:"countryCode,omitzero"`
	ReferredBy             *scalarJSON     `json:"referredBy,omitzero"`
	ReferredByCodes        *[]string       `json:"referredByCodes,omitzero"`
	Cookies                *string         `json:"cookies,omitzero"`
	Referable              *bool           `json:"referable,omitzero"`
	CustomFields           *scalarJSON     `json:"customFields,omitzero"`
	Segments               *[]scalarText   `json:"segments,omitzero"`
	DateCreated            *dateInput      `json:"-"`
	ProgramGoals           *[]programGoals `json:"-"`
	DateUSTaxFormSubmitted *dateInput      `json:"dateUsTaxFormSubmitted,omitzero"`
}

type programGoals struct {
	GoalID          string
	ProgramID       graphql.ID
	Count           int32
	FirstDate       dateInput
	LastDate        dateInput
	ConversionCount int32
}

// upsertUser is an upsert call with the input as its body.
func (c *graphQLCall) upsertUser(in *userInput, lost bool) (*userResult, *apiError) {
	if lost {
		return nil, nil
	}
	body, err := jsonv2.Marshal(in)
	if err != nil {
		return nil, badRequest("The input cannot be written as JSON.")
	}
	scratch := scratches.Get().(*scratch)
	defer scratch.free()
	scratch.reader.reset(body, "")
	patch, apiErr := readUser(&scratch.reader, "user")
	if apiErr != nil {
		return nil, apiErr
	}
	if in.DateCreated != nil {
		date := in.DateCreated.append(nil)
		if _, ok := parseInteger(date); !ok {
			return nil, badRequest("/dateCreated must be a number of milliseconds without a fraction")
		}
		patch.fields["dateCreated"] = json.Number(date)
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	u, apiErr := c.tenant.upsert(patch.ref, patch)
	if apiErr != nil {
		return nil, apiErr
	}
	c.server.counts.Load().users[upsertUser].Add(1)
	return u.result(), nil
}

// UpsertUser answers an error of the call, unlike UpsertUsers.
func (*resolver) UpsertUser(ctx context.Context, args struct{ UserInput userInput }) (*userResult, error) {
	call := callOf(ctx)
	result, apiErr := call.upsertUser(&args.UserInput, call.lost)
	switch {
	case apiErr != nil:
		return nil, graphQLError{apiErr}
	case result == nil:
		return nil, errLost
	}
	return result, nil
}

// UpsertUsers answers each input at its place, with a user or an error. The limit of 100 inputs is published.
func (*resolver) UpsertUsers(ctx context.Context, args struct{ UserInputs []userInput }) ([]*userOrError, error) {
	call := callOf(ctx)
	if err := call.checkBulk(len(args.UserInputs)); err != nil {
		return nil, err
	}
	results := make([]*userOrError, len(args.UserInputs))
	for i := range args.UserInputs {
		var result *userResult
		apiErr := call.item(func(lost bool) (apiErr *apiError) {
			result, apiErr = call.upsertUser(&args.UserInputs[i], lost)
			return apiErr
		})
		results[i] = &userOrError{result, apiErr}
	}
	return results, nil
}

// User looks up a user. Assumed: a user that does not exist is an error, as it is by REST.
func (*resolver) User(ctx context.Context, args struct{ ID, AccountID string }) (*userResult, error) {
	call := callOf(ctx)
	switch {
	case isBlank([]byte(args.AccountID)):
		return nil, graphQLError{errBlankAccount}
	case isBlank([]byte(args.ID)):
		return nil, graphQLError{errBlankUser}
	}
	found := call.user(userRef{args.AccountID, args.ID})
	if found == nil {
		return nil, graphQLError{errUserNotFound}
	}
	call.server.counts.Load().users[lookUpUser].Add(1)
	return found, nil
}

// user returns nil for a user that does not exist.
func (c *graphQLCall) user(ref userRef) *userResult {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	u := c.tenant.users[ref]
	if u == nil {
		return nil
	}
	return u.result()
}

// userOrError is the union UserUpsertResult.
type userOrError struct {
	result *userResult
	apiErr *apiError
}

// ToUser and ToApiError implement the library's form of a union.
func (u *userOrError) ToUser() (*userResult, bool) { return u.result, u.apiErr == nil }

func (u *userOrError) ToApiError() (*itemError, bool) { return (*itemError)(u.apiErr), u.apiErr != nil }

// userResult is the type User: a copy of a user.
type userResult struct {
	fields   map[string]any
	custom   map[string]any
	segments []string
}

// result copies the user. The caller holds the server's mutex.
func (u *user) result() *userResult {
	return &userResult{maps.Clone(u.fields), maps.Clone(u.custom), slices.Clone(u.segments)}
}

// text returns a field, or nil for a user without it.
func (r *userResult) text(name string) *string {
	text, ok := r.fields[name].(string)
	if !ok {
		return nil
	}
	return &text
}

func (r *userResult) scalar(name string) *scalarText { return (*scalarText)(r.text(name)) }

func (r *userResult) date(name string) *scalarDate {
	number, _ := r.fields[name].(json.Number)
	ms, ok := parseInteger([]byte(number))
	if !ok {
		return nil
	}
	return dateOf(ms)
}

func (r *userResult) ID() string { return *r.text("id") }

func (r *userResult) AccountID() string { return *r.text("accountId") }

func (r *userResult) FirstName() *string                  { return r.text("firstName") }
func (r *userResult) LastName() *string                   { return r.text("lastName") }
func (r *userResult) ImageURL() *string                   { return r.text("imageUrl") }
func (r *userResult) Email() *string                      { return r.text("email") }
func (r *userResult) PaymentProviderID() *string          { return r.text("paymentProviderId") }
func (r *userResult) Locale() *scalarText                 { return r.scalar("locale") }
func (r *userResult) CountryCode() *scalarText            { return r.scalar("countryCode") }
func (r *userResult) DateCreated() *scalarDate            { return r.date("dateCreated") }
func (r *userResult) DateUSTaxFormSubmitted() *scalarDate { return r.date("dateUsTaxFormSubmitted") }

// Referable is null for a user without it.
func (r *userResult) Referable() *bool {
	referable, ok := r.fields["referable"].(bool)
	if !ok {
		return nil
	}
	return &referable
}

// ReferralCodes are empty for a user without them.
func (r *userResult) ReferralCodes() scalarJSON {
	codes, ok := r.fields["referralCodes"]
	if !ok {
		codes = map[string]any{}
	}
	return scalarJSON{codes}
}

// ReferredByCodes are empty for a user without them.
func (r *userResult) ReferredByCodes() []string {
	sent, _ := r.fields["referredByCodes"].([]any)
	codes := make([]string, len(sent))
	for i := range sent {
		codes[i], _ = sent[i].(string) // always a string, by schema.json
	}
	return codes
}

func (r *userResult) CustomFields() *scalarJSON { return &scalarJSON{r.custom} }

func (r *userResult) Segments() []scalarText {
	segments := make([]scalarText, len(r.segments))
	for i, name := range r.segments {
		segments[i] = scalarText(name)
	}
	return segments
}

// rawJSON is a scalar of text that is JSON.
func rawJSON(text []byte) *scalarJSON { return &scalarJSON{jsontext.Value(text)} }
