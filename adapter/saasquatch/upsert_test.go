package saasquatch

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

func testUpsert(userID string) *mapping.UserUpsert {
	return &mapping.UserUpsert{UserID: userID, AccountID: "account " + userID,
		Body: []byte(`{"id":"u","email":"bob@example.com","customFields":{"plan":"gold plated"}}`)}
}

func TestUpsertMakesTheDocumentedRequest(t *testing.T) {
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		user, password, ok := r.BasicAuth()
		got := fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Header.Get("Content-Type"), " ", string(body), " ", user,
			":", password, " ", ok, err)
		want := `PUT /api/v1/test_tenant/open/account/account%20u%2F1/user/u%2F1?fields=id,accountId ` +
			`application/json ` + string(testUpsert("").Body) + ` :` + testKey + ` true <nil>`
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	if got := client.Upsert(t.Context(), testUpsert("u/1")); got.Outcome != adapter.Delivered || got.Status != 200 {
		t.Errorf("got %+v", got)
	}
}

func TestClassifyUpsertByCode(t *testing.T) {
	picky := "locale email referredByCodes imageUrl"
	referral := "referralCode referralCodes referredBy referredByCodes"
	for _, test := range []struct {
		status  int
		code    string
		rsCode  string
		outcome adapter.Outcome
		reason  mapping.Reason
		fields  string
	}{
		{400, "BAD_REQUEST", "RS039", adapter.Dead, mapping.ReasonRefused, "locale"},
		{422, "", "RS039", adapter.Dead, mapping.ReasonRefused, "locale"},
		{400, "BAD_REQUEST", "RS023", adapter.Dead, mapping.ReasonRefused, "email"},
		{400, "BAD_REQUEST", "RS024", adapter.Dead, mapping.ReasonRefused, "firstName"},
		{400, "BAD_REQUEST", "RS034", adapter.Dead, mapping.ReasonRefused, referral},
		{400, "BAD_REQUEST", "RS052", adapter.Dead, mapping.ReasonRefused, "cookies"},
		{400, "BAD_REQUEST", "RS053", adapter.Dead, mapping.ReasonRefused, "shareLinks"},
		{404, "REFERRAL_CODE_NOT_FOUND", "", adapter.Dead, mapping.ReasonRefused, referral},
		{400, "BAD_REQUEST", "", adapter.Dead, mapping.ReasonRefused, picky},
		{400, "VALIDATION_FAILED", "", adapter.Dead, mapping.ReasonRefused, picky},
		{400, "", "", adapter.Dead, mapping.ReasonRefused, ""},
		{422, "BAD_REQUEST", "", adapter.Dead, mapping.ReasonRefused, ""},
		{400, "BAD_REQUEST", "RS013", adapter.Dead, mapping.ReasonRefused, ""},
		{400, "BAD_REQUEST", "RS999", adapter.Dead, mapping.ReasonRefused, ""},
		{400, "BAD_REQUEST", "RS050", adapter.Dead, mapping.ReasonDoNotTrack, ""},
		{403, "", "RS050", adapter.Dead, mapping.ReasonDoNotTrack, ""},
		{409, "", "RS050", adapter.Dead, mapping.ReasonDoNotTrack, ""},
		{409, "", "RS048", adapter.Delivered, "", ""},
		{400, "BAD_REQUEST", "RS048", adapter.Delivered, "", ""},
		{400, "BAD_REQUEST", "RS021", adapter.Delivered, "", ""},
		{503, "", "RS048", adapter.Pending, mapping.ReasonServerError, ""},
		{404, "TENANT_NOT_FOUND", "RS045", adapter.Pending, mapping.ReasonTenantNotFound, ""},
		{409, "TENANT_NOT_FOUND", "RS045", adapter.Pending, mapping.ReasonTenantNotFound, ""},
		{404, "ACCOUNT_NOT_FOUND", "RS041", adapter.Dead, mapping.ReasonRefused, ""},
		{403, "API_REQUEST_NOT_SUPPORTED", "", adapter.Pending, mapping.ReasonForbidden, ""},
		{401, "", "RS039", adapter.Pending, mapping.ReasonUnauthorized, ""},
		{429, "", "RS033", adapter.Pending, mapping.ReasonRateLimited, ""},
		{500, "BAD_REQUEST", "", adapter.Pending, mapping.ReasonServerError, ""},
	} {
		got := classifyUpsert(test.status, apiError{APIErrorCode: test.code, RSCode: test.rsCode, stated: true}, false)
		if got.Outcome != test.outcome || got.Reason != test.reason || strings.Join(got.RefusedFields,
			" ") != test.fields || got.Status != test.status {
			t.Errorf("%d %s %s: got %+v", test.status, test.code, test.rsCode, got)
		}
		if got.Misconfigured != slices.Contains([]mapping.Reason{mapping.ReasonTenantNotFound, mapping.ReasonForbidden,
			mapping.ReasonUnauthorized}, got.Reason) {
			t.Errorf("%d %s %s: misconfigured=%t", test.status, test.code, test.rsCode, got.Misconfigured)
		}
	}
}

// TestUpsertFailuresTellNothingPrivate checks an answer of SaaSquatch that quotes the request.
func TestUpsertFailuresTellNothingPrivate(t *testing.T) {
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"message":"email bob@example.com of secret-user (gold plated) is bad",`+
			`"statusCode":400,"apiErrorCode":"BAD_REQUEST","rsCode":"RS023"}`)
	})
	got := client.Upsert(t.Context(), testUpsert("secret-user"))
	if want := "HTTP 400 BAD_REQUEST RS023 email [value] of [id] ([value]) is bad"; got.Detail != want ||
		got.RetryAfter != 3*time.Second || !slices.Equal(got.RefusedFields, []string{"email"}) {
		t.Errorf("got  %+v\nwant %s", got, want)
	}
}
