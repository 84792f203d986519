package sandbox_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"segment-saasquatch/adapter/sandbox"
)

func upsert(members string) string {
	body := `{"id":"u1","accountId":"a1"`
	if members != "" {
		body += "," + members
	}
	return body + "}"
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUserLifecycle(t *testing.T) {
	s := newServer(t, open())
	steps := []struct {
		method, body string
		status       int
		want         string // of a success
	}{
		{"GET", "", 404, ""},
		{"PUT", upsert(`"firstName":"Bob","email":"bob@example.com","locale":"en_US",` +
			`"customFields":{"plan":"Pro+",` +
			`"shoe_size":12.5,"vip":true,"gone":null},"segments":["a","b","a"],"unknown":{"x":1}`), 200,
			`{"id":"u1","accountId":"a1","firstName":"Bob","email":"bob@example.com","locale":"en_US",` +
				`"customFields":{"plan":"Pro+","shoe_size":12.5,"vip":true},"segments":["a","b"]}`},
		// An update is partial; null deletes a custom field; segments are operations.
		{"PUT", upsert(`"lastName":"T","firstName":"Rob","customFields":{"plan":null,"n":1},"segments":["~a","c",` +
			`"~zzz"]`), 200,
			`{"id":"u1","accountId":"a1","firstName":"Rob","lastName":"T","email":"bob@example.com",` +
				`"locale":"en_US",` +
				`"customFields":{"n":1,"shoe_size":12.5,"vip":true},"segments":["b","c"]}`},
		{"PUT", upsert(`"segments":["~*","d"]`), 200,
			`{"id":"u1","accountId":"a1","firstName":"Rob","lastName":"T","email":"bob@example.com",` +
				`"locale":"en_US",` +
				`"customFields":{"n":1,"shoe_size":12.5,"vip":true},"segments":["d"]}`},
		{"PUT", upsert(`"segments":["~*"]`), 200,
			`{"id":"u1","accountId":"a1","firstName":"Rob","lastName":"T","email":"bob@example.com",` +
				`"locale":"en_US",` +
				`"customFields":{"n":1,"shoe_size":12.5,"vip":true},"segments":[]}`},
		{"POST", upsert(""), 409, ""},
		{"GET", "", 200,
			`{"id":"u1","accountId":"a1","firstName":"Rob","lastName":"T","email":"bob@example.com",` +
				`"locale":"en_US",` +
				`"customFields":{"n":1,"shoe_size":12.5,"vip":true},"segments":[]}`},
	}
	for i, step := range steps {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			w := send(s, step.method, userU1, step.body)
			wantStatus(t, w, step.status)
			if step.want == "" {
				readError(t, w)
				return
			}
			sameJSON(t, w.Body.String(), step.want)
		})
	}
	if stats := s.Stats(); stats.Users != 1 || stats.Accounts != 1 || stats.UserUpserts != 4 ||
		stats.UserCreates != 0 || stats.UserLookups != 1 {
		t.Errorf("stats: %+v", stats)
	}
}

func TestCreateUser(t *testing.T) {
	s := newServer(t, open())
	wantStatus(t, send(s, "POST", userU1, upsert("")), 201)
	w := send(s, "POST", userU1, upsert(""))
	wantStatus(t, w, 409)
	if e := readError(t, w); *e.RSCode != "RS048" {
		t.Errorf("rsCode %q", *e.RSCode)
	}
	wantStatus(t, send(s, "GET", userU1, ""), 200)
}

// TestLookupNeedsNoContentType checks that a GET needs no content type, because it has no body.
func TestLookupNeedsNoContentType(t *testing.T) {
	s := newServer(t, open())
	wantStatus(t, send(s, "PUT", userU1, upsert("")), 200)
	r := newRequest("GET", userU1, "")
	r.Header.Del("Content-Type")
	wantStatus(t, do(s, r), 200)
}

func TestSelectedFields(t *testing.T) {
	s := newServer(t, open())
	wantStatus(t, send(s, "PUT", userU1, upsert(`"firstName":"Bob"`)), 200)
	w := send(s, "PUT", userU1+"?fields=id,accountId", upsert(""))
	sameJSON(t, w.Body.String(), `{"id":"u1","accountId":"a1"}`)
	w = send(s, "GET", userU1+"?fields=id&fields=firstName", "")
	sameJSON(t, w.Body.String(), `{"id":"u1","firstName":"Bob"}`)
	wantStatus(t, send(s, "GET", userU1+"?fields=id&extraFields=firstName", ""), 400)
	wantStatus(t, send(s, "GET", userU1+"?%zz", ""), 400)
}

func TestUserBodies(t *testing.T) {
	custom := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`"f%d":%d`, i, i)
		}
		return `"customFields":{` + strings.Join(all, ",") + `}`
	}
	tests := []struct{ name, body, message, rsCode string }{
		{"every field", upsert(`"firstName":"B","lastName":"T","email":"b@x.com","referable":true,` +
			`"referralCode":"BOB","referralCodes":{"program-1":"BOB"},"paymentProviderId":"cus","locale":"fr_CA",` +
			`"countryCode":"CA","dateUsTaxFormSubmitted":1619647338270,"referredBy":{"code":"J",` +
			`"isConverted":true,` +
			`"x":1},"referredByCodes":["J"],"cookies":"eyJ9","imageUrl":"","segments":[],` +
			`"shareLinks":{"p":"http://x"},"customFields":{}`), "", ""},
		{"empty", "", "not valid JSON", ""},
		{"array", "[]", "must be a JSON object", ""},
		{"two values", upsert("") + "{}", "one JSON value", ""},
		{"no id", `{"accountId":"a1"}`, "id is required", ""},
		{"no accountId", `{"id":"u1"}`, "accountId is required", ""},
		{"other id", `{"id":"u2","accountId":"a1"}`, "/id must be the id in the path", ""},
		{"numeric id", `{"id":1,"accountId":"a1"}`, "/id must be a string", ""},
		{"other accountId", `{"id":"u1","accountId":"a2"}`, "/accountId must be the id in the path", ""},
		{"blank id", `{"id":"","accountId":"a1"}`, "user id", "RS043"},
		{"blank accountId", `{"id":"u1","accountId":" "}`, "account id", "RS044"},
		{"name number", upsert(`"firstName":1`), "/firstName must be a string", ""},
		{"name null", upsert(`"lastName":null`), "/lastName must be a string", ""},
		{"referable text", upsert(`"referable":"true"`), "/referable must be a boolean", ""},
		{"date with fraction", upsert(`"dateUsTaxFormSubmitted":1.5`), "must be an integer", ""},
		{"locale with dash", upsert(`"locale":"en-US"`), "/locale must be a locale", "RS039"},
		{"locale language only", upsert(`"locale":"en"`), "/locale must be a locale", "RS039"},
		{"locale in lower case", upsert(`"locale":"en_us"`), "/locale must be a locale", "RS039"},
		{"locale with script", upsert(`"locale":"zh_Hans_CN"`), "/locale must be a locale", "RS039"},
		{"locale nonsense", upsert(`"locale":"???"`), "/locale must be a locale", "RS039"},
		{"locale null", upsert(`"locale":null`), "/locale must be a string", ""},
		{"country in lower case", upsert(`"countryCode":"ca"`), "/countryCode", ""},
		{"e-mail without at", upsert(`"email":"bob.example.com"`), "/email", "RS023"},
		{"e-mail without local part", upsert(`"email":"@example.com"`), "/email", "RS023"},
		{"e-mail without TLD", upsert(`"email":"bob@example"`), "/email", "RS023"},
		{"e-mail with short TLD", upsert(`"email":"bob@example.c"`), "/email", "RS023"},
		{"e-mail too short", upsert(`"email":"b@x.io"`), "/email", "RS023"},
		{"e-mail with space", upsert(`"email":"bob @example.com"`), "/email", "RS023"},
		{"e-mail empty", upsert(`"email":""`), "/email", "RS023"},
		{"referredByCodes text", upsert(`"referredByCodes":"J"`), "must be an array", ""},
		{"referredByCodes numbers", upsert(`"referredByCodes":[1]`), "/referredByCodes/0 must be a string", ""},
		{"referredBy text", upsert(`"referredBy":"J"`), "/referredBy must be an object", ""},
		{"referredBy code number", upsert(`"referredBy":{"code":1}`), "/referredBy/code must be a string", ""},
		{"referralCodes number", upsert(`"referralCodes":{"p":1}`), "/referralCodes/p must be a string", ""},
		{"referralCodes underscore", upsert(`"referralCodes":{"a_b":"X"}`), "no id of a program", ""},
		{"shareLinks array", upsert(`"shareLinks":[]`), "/shareLinks must be an object", ""},
		{"referralCode empty", upsert(`"referralCode":""`), "/referralCode must be a referral code", "RS034"},
		{"referralCode of 15", upsert(`"referralCode":"` + strings.Repeat("A", 15) + `"`), "", ""},
		{"referralCode of 16", upsert(`"referralCode":"` + strings.Repeat("A", 16) + `"`),
			"/referralCode must be", "RS034"},
		{"referralCode with dash", upsert(`"referralCode":"BOB-1"`), "/referralCode must be", "RS034"},
		{"referredByCodes wrong", upsert(`"referredByCodes":["BOB","no code"]`),
			"/referredByCodes/1 must be a referral code", "RS034"},
		{"referralCodes wrong", upsert(`"referralCodes":{"p":"ÉVA"}`),
			"/referralCodes/p must be a referral code", "RS034"},
		{"shareLinks wrong", upsert(`"shareLinks":{"p":"no link"}`), "/shareLinks/p must be a link", "RS053"},
		{"segments text", upsert(`"segments":"a"`), "/segments must be an array", ""},
		{"segments number", upsert(`"segments":["a",1]`), "/segments/1 must be a string", ""},
		{"segments empty name", upsert(`"segments":["~"]`), "/segments must not have an empty name", ""},
		{"customFields null", upsert(`"customFields":null`), "/customFields must be an object", ""},
		{"custom name with dash", upsert(`"customFields":{"a-b":1}`), "no name of a custom field", ""},
		{"custom name with space", upsert(`"customFields":{"a b":1}`), "no name of a custom field", ""},
		{"custom name empty", upsert(`"customFields":{"":1}`), "no name of a custom field", ""},
		{"custom name of 64", upsert(`"customFields":{"` + strings.Repeat("a", 64) + `":1}`), "", ""},
		{"custom name of 65", upsert(`"customFields":{"` + strings.Repeat("a", 65) + `":1}`),
			"no name of a custom field", ""},
		{"custom object", upsert(`"customFields":{"a":{}}`), "/customFields/a must be a string, number", ""},
		{"custom array", upsert(`"customFields":{"a":[1]}`), "/customFields/a must be a string, number", ""},
		{"custom text of 1024", upsert(`"customFields":{"a":"` + strings.Repeat("é", 1024) + `"}`), "", ""},
		{"custom text of 1025", upsert(`"customFields":{"a":"` + strings.Repeat("é", 1025) + `"}`),
			"at most 1024 characters", ""},
		{"100 custom fields", upsert(custom(100)), "", ""},
		{"101 custom fields", upsert(custom(101)), "/customFields must have at most 100", ""},
		{"name twice", upsert(`"firstName":"a","firstName":"b"`), "twice", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, open())
			w := send(s, "PUT", userU1, test.body)
			if test.message == "" {
				wantStatus(t, w, 200)
				return
			}
			wantBadRequest(t, w, test.rsCode, test.message)
			if n := s.Stats().Users; n != 0 {
				t.Errorf("%d users were made", n)
			}
		})
	}
}

func TestBlankUserInPath(t *testing.T) {
	s := newServer(t, open())
	for path, rsCode := range map[string]string{
		strings.Replace(userU1, "/u1", "/%20", 1):   "RS043",
		strings.Replace(userU1, "/a1/", "/%09/", 1): "RS044",
	} {
		for _, method := range []string{"GET", "PUT", "POST"} {
			w := send(s, method, path, upsert(""))
			wantStatus(t, w, 400)
			if e := readError(t, w); *e.RSCode != rsCode {
				t.Errorf("%s %s: rsCode %q, want %q", method, path, *e.RSCode, rsCode)
			}
		}
	}
}

func TestAccountHoldsThousandUsers(t *testing.T) {
	s := newServer(t, open())
	put := func(account, id string) int {
		path := "/api/v1/" + alias + "/open/account/" + account + "/user/" + id
		return send(s, "PUT", path, fmt.Sprintf(`{"id":%q,"accountId":%q}`, id, account)).Code
	}
	for i := range 1000 {
		if status := put("a1", fmt.Sprint("u", i)); status != 200 {
			t.Fatalf("user %d: status %d", i, status)
		}
	}
	w := send(s, "PUT", strings.Replace(userU1, "/u1", "/extra", 1), `{"id":"extra","accountId":"a1"}`)
	wantStatus(t, w, 400)
	if e := readError(t, w); *e.RSCode != "RS013" {
		t.Errorf("rsCode %q", *e.RSCode)
	}
	if put("a1", "u7") != 200 || put("a2", "extra") != 200 {
		t.Error("a full account hinders updates or other accounts")
	}
}

// TestDoNotTrack marks an existing and an unknown user.
func TestDoNotTrack(t *testing.T) {
	s := newServer(t, sandbox.Options{Users: sandbox.KnownUsers, BurnKeys: true})
	refused := func(method, path, body string) {
		t.Helper()
		w := send(s, method, path, body)
		wantStatus(t, w, 400)
		if e := readError(t, w); *e.RSCode != "RS050" || *e.APIErrorCode != "BAD_REQUEST" {
			t.Errorf("%s %s: %s %q", method, path, *e.APIErrorCode, *e.RSCode)
		}
	}
	wantStatus(t, send(s, "PUT", userU1, upsert("")), 200)
	wantStatus(t, send(s, "POST", "/_sandbox/do-not-track", `{"accountId":"a1","userId":"u1"}`), 200)
	if stats := s.Stats(); stats.Users != 0 || stats.Accounts != 0 {
		t.Errorf("%d users and %d accounts are left", stats.Users, stats.Accounts)
	}
	refused("PUT", userU1, upsert(""))
	refused("POST", userU1, upsert(""))
	refused("POST", events, eventBody("12345678"))
	wantStatus(t, send(s, "POST", events, eventBody("12345678")), 409)
	wantStatus(t, send(s, "GET", userU1, ""), 404)
	other := strings.Replace(userU1, "/"+alias+"/", "/another/", 1) // which is made by the request
	refused("PUT", other, upsert(""))
	wantStatus(t, send(s, "PUT", strings.Replace(userU1, "/a1/", "/a2/", 1), `{"id":"u1","accountId":"a2"}`), 200)

	wantStatus(t, send(s, "POST", "/_sandbox/reset", "{}"), 200)
	wantStatus(t, send(s, "PUT", userU1, upsert("")), 200)
	for _, body := range []string{"", "{}", `{"accountId":"a1"}`, `{"accountId":"a1","userId":"u1","x":1}`} {
		wantStatus(t, send(s, "POST", "/_sandbox/do-not-track", body), 400)
	}
}

// TestAnyUserMakesNone checks that events alone make no user.
func TestAnyUserMakesNone(t *testing.T) {
	s := newServer(t, sandbox.Options{Users: sandbox.AnyUser})
	wantStatus(t, send(s, "POST", events, eventBody("")), 200)
	w := send(s, "GET", userU1, "")
	wantStatus(t, w, 404)
	if e := readError(t, w); *e.RSCode != "RS042" {
		t.Errorf("rsCode %q", *e.RSCode)
	}
}
