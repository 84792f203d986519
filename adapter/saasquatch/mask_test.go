package saasquatch

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// TestDetailsTellNoIDs checks answers of SaaSquatch and of proxies that quote the user's ids.
func TestDetailsTellNoIDs(t *testing.T) {
	quoted := func(text string) string {
		body, err := json.Marshal(map[string]any{"message": text, "statusCode": 400, "apiErrorCode": "BAD_REQUEST",
			"rsCode": "RS043"})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	const lead = "HTTP 400 BAD_REQUEST RS043 "
	const strange = "HTTP 400, which is not SaaSquatch's answer: text/html, "
	for name, test := range map[string]struct {
		account, user string
		body          string
		want          string
	}{
		"a letter": {"u", "u", quoted("user u is unusual, use u."), lead +
			"user [id] is unusual, use [id]."},
		"a letter in quotes": {"a", "a", quoted("'a' has a bad value: a=a"), lead +
			"'[id]' has [id] bad value: [id]=[id]"},
		"a digit": {"1", "4", quoted("HTTP 401: user 4 of account 1"), lead +
			"HTTP 401: user [id] of account [id]"},
		"a digit behind a letter": {"12", "12", quoted("u12 and 112 of RS012"), lead + "u[id] and 112 of RS012"},
		"two and three letters":   {"is", "bad", quoted("this is bad, badly"), lead + "this [id] [id], badly"},
		"a code":                  {"BAD_REQUEST", "RS043", quoted("BAD_REQUEST of RS043"), lead + "[id] of [id]"},
		"part of a code":          {"BAD", "RS0", quoted("BAD_REQUEST of RS0"), lead + "[id]_REQUEST of [id]"},
		"within a word":           {"account-1", "user-1", quoted("xuser-1x account-12"), lead + "x[id]x [id]2"},
		"one begins the other":    {"user-1-account", "user-1", quoted("user-1-account user-1"), lead + "[id] [id]"},
		"other letters":           {"日", "é", quoted("user日本 é café"), lead + "user[id]本 [id] café"},
		"a dot":                   {".x", ".", quoted("user . e.g. 1.5"), lead + "user [id] e.g. 1.5"},
		"lower case":              {"acc", "Bob@Example.com", quoted("no bob@example.com"), lead + "no [id]"},
		"percent-encoded": {"a/b c", "ü@x.yz", quoted("/account/a%2Fb%20c/user/%c3%bc%40x.yz/events"), lead +
			"/account/[id]/user/[id]/events"},
		"as in a form": {"a/b c", "ü@x.yz", quoted("account=a%2Fb+c&user=%C3%BC%40x.yz"), lead +
			"account=[id]&user=[id]"},
		"encoded twice": {"a/bc", "u", quoted("account a%252Fbc"), lead + "account [id]"},
		"escaped in JSON": {`say "hi"`, "ü/nn", quoted(`say \"hi\" \u00fc\/nn \ud83d\ude00`), lead +
			"[id] [id] 😀"},
		"in HTML": {"a&b c", "o'neil", "<p>a&amp;b c, o&#39;neil o&#x27;neil</p>", strange +
			"<p>[id], [id] [id]</p>"},
		"in a page's URL": {"acc", "bob@example.com",
			"<p>/open/account/acc/user/bob%40example.com/events was not found</p>", strange +
				"<p>/open/account/[id]/user/[id]/events was not found</p>"},
		"a value in a page": {"acc", "user-1", "<p>blocked: gold plated &lt;script&gt; of user-1</p>", strange +
			"<p>blocked: [value] <script> of [id]</p>"},
		"at the end of a page": {"acc", "a-long-user-id", "x" + strings.Repeat(" ", 500) + "a-long-user-id",
			strange + "x"},
		"cut within an escape": {"acc", "a-löng-user", "x" + strings.Repeat(" ", 505) + "a-l%C3%B6ng-user",
			strange + "x"},
		"no code": {"acc", "user-1", `{"apiErrorCode":"no user-1","message":"none"}`,
			"HTTP 400 no [id] none"},
		"nothing": {"acc", "user-1", "", "HTTP 400, which is not SaaSquatch's answer: text/html, no " +
			"body"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(400)
				_, _ = io.WriteString(w, test.body)
			})
			got := client.Track(t.Context(), &mapping.UserEvent{AccountID: test.account, UserID: test.user,
				Body: []byte(`{"events":[{"fields":{"plan":"gold plated"}}]}`)})
			if got.Detail != test.want {
				t.Errorf("got  %s\nwant %s", got.Detail, test.want)
			}
		})
	}
}

// TestUnexpectedAnswersAreDescribed checks the description of an answer that is not SaaSquatch's.
func TestUnexpectedAnswersAreDescribed(t *testing.T) {
	for body, want := range map[string]string{
		"<html>\n <b>Down</b>": "HTTP 200, which is not SaaSquatch's answer: text/html; charset=utf-8, <html> " +
			"<b>Down</b>",
		"[\x00]":             "HTTP 200, which is not SaaSquatch's answer: application/octet-stream, [ ]",
		`{"rsCode":"RS999"}`: "HTTP 200 RS999: an error without a status",
	} {
		client := newClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if got := client.Track(t.Context(), testEvent("u")); got.Detail != want ||
			got.Reason != mapping.ReasonUnexpectedAnswer {
			t.Errorf("%q: got  %+v\nwant %s", body, got, want)
		}
	}
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"statusCode":400,"message":"u is bad","apiErrorCode":"BAD_REQUEST"}`)
	})
	if got := client.Track(t.Context(),
		testEvent("u")); got.Detail != "HTTP 200 stating 400 BAD_REQUEST [id] is bad" || got.Outcome != adapter.Dead {
		t.Errorf("got %+v", got)
	}
}

// FuzzMask checks that hide finds an id in each of its forms.
func FuzzMask(f *testing.F) {
	f.Add("bob@example.com", "user ", " is unknown", uint8(0))
	f.Add("a b&c/ü", "x", "y", uint8(3))
	f.Add("%41bcd", "%", "%", uint8(1))
	f.Fuzz(func(t *testing.T, id, before, after string, form uint8) {
		if len(id) < minHidden || len(id) > maxMessage || strings.ContainsAny(id, "[id]%\\&") {
			t.Skip("the mask and escapes are made of these")
		}
		text := id
		switch form % 5 {
		case 1:
			text = escapeSegment(id)
		case 2:
			text = url.QueryEscape(id)
		case 3:
			encoded, err := json.Marshal(id)
			if err != nil || !strings.Contains(string(encoded), id) && strings.Contains(string(encoded), `\ufffd`) {
				t.Skip("not UTF-8")
			}
			text = string(encoded[1 : len(encoded)-1])
		case 4:
			text = html.EscapeString(id)
		}
		private := &mask{items: []item{{accountID: "account", userID: id}}}
		if got := private.hide(before + text + after); strings.Contains(got, id) {
			t.Errorf("%q hidden in %q: %q", id, before+text+after, got)
		}
	})
}
