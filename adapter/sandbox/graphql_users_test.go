package sandbox_test

import (
	"fmt"
	"testing"
)

const upsertAll = `mutation($in: [UserInput!]!) { upsertUsers(userInputs: $in) { __typename
	... on User { id accountId } ... on ApiError { message statusCode rsCode } } }`

const everything = `id accountId firstName lastName referralCodes imageUrl email paymentProviderId locale ` +
	`countryCode referable customFields dateCreated referredByCodes segments dateUsTaxFormSubmitted`

// TestUpsertUsers judges each input on its own, at its place.
func TestUpsertUsers(t *testing.T) {
	s := newServer(t, known())
	s.DoNotTrack("a1", "gone")
	user := func(id string, members ...any) map[string]any {
		in := map[string]any{"id": id, "accountId": "a1"}
		for i := 0; i < len(members); i += 2 {
			in[members[i].(string)] = members[i+1]
		}
		return in
	}
	wantItems(t, bulk(t, s, upsertAll,
		user("u1", "email", "a@example.org", "customFields", map[string]any{"plan": "pro", "age": 5}),
		user("u2", "locale", "english"),
		user("u3", "email", "x"),
		user("u4", "customFields", map[string]any{"a": []int{}}),
		user("u5", "segments", []string{"~"}),
		user("u6", "dateCreated", 1.5),
		user(""),
		map[string]any{"id": "u7"},
		map[string]any{},
		user("gone"),
		user("u1", "customFields", map[string]any{"age": nil}, "segments", []string{"vip"}, "firstName", nil),
		user("u8", "lastInitial", "x", "cookieId", "x", "programGoals", []any{map[string]any{"goalId": "g",
			"programId": "p", "count": 1, "firstDate": 1538496397475, "lastDate": 1, "conversionCount": 0}}),
	), "u1", "400 RS039", "400 RS023", "400", "400", "400", "400 RS043", "400", "400", "400 RS050", "u1", "u8")
	if stats := s.Stats(); stats.UserUpserts != 3 || stats.Users != 2 || stats.BulkCalls != 1 {
		t.Errorf("stats: %+v", stats)
	}
	w := send(s, "GET", userU1, "")
	wantStatus(t, w, 200)
	if got, want := w.Body.String(), `{"accountId":"a1","customFields":{"plan":"pro"},"email":"a@example.org",`+
		`"id":"u1","segments":["vip"]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	wantItems(t, bulk(t, s, logEvents, eventOf("u8", ""), eventOf("u2", "")), "u8", "404 RS042")
}

func TestAccountIsFull(t *testing.T) {
	s := newServer(t, known())
	var inputs []map[string]any
	for i := range 1001 {
		inputs = append(inputs, map[string]any{"id": fmt.Sprint("u", i), "accountId": "a1"})
	}
	for i := 0; i < 1000; i += 100 {
		bulk(t, s, upsertAll, inputs[i:i+100]...)
	}
	wantItems(t, bulk(t, s, upsertAll, inputs[999:]...), "u999", "400 RS013")
}

// TestUserFields checks a user that has all fields, and one that has none.
func TestUserFields(t *testing.T) {
	s := newServer(t, known())
	const upsert = `mutation($in: UserInput!) { upsertUser(userInput: $in) { ` + everything + ` } }`
	const lookUp = `query($id: String!) { upsertUser: user(id: $id, accountId: "a1") { ` + everything + ` } }`
	for _, test := range []struct {
		in   map[string]any
		want string
	}{
		{map[string]any{"id": "u1", "accountId": "a1"},
			`{"id":"u1","accountId":"a1","firstName":null,"lastName":null,"referralCodes":{},"imageUrl":null,` +
				`"email":null,"paymentProviderId":null,"locale":null,"countryCode":null,"referable":null,` +
				`"customFields":{},"dateCreated":null,"referredByCodes":[],"segments":[],` +
				`"dateUsTaxFormSubmitted":null}`},
		{map[string]any{"id": "u2", "accountId": "a1", "firstName": "A", "lastName": "B", "referralCode": "X",
			"referralCodes": map[string]any{"p1": "CODE"}, "shareLinks": map[string]any{"p1": "https://x.example/"},
			"imageUrl": "https://x.example/i", "email": "a@example.org", "paymentProviderId": "p",
			"locale": "en_US", "countryCode": "US", "referredBy": map[string]any{"code": "X"},
			"referredByCodes": []string{"Y"}, "cookies": "c", "referable": false,
			"customFields": map[string]any{"n": 1.5}, "segments": []string{"b", "a", "~b"},
			"dateCreated": 1538496397475, "dateUsTaxFormSubmitted": 2},
			`{"id":"u2","accountId":"a1","firstName":"A","lastName":"B","referralCodes":{"p1":"CODE"},` +
				`"imageUrl":"https://x.example/i","email":"a@example.org","paymentProviderId":"p",` +
				`"locale":"en_US","countryCode":"US","referable":false,"customFields":{"n":1.5},` +
				`"dateCreated":1538496397475,"referredByCodes":["Y"],"segments":["a"],` +
				`"dateUsTaxFormSubmitted":2}`},
	} {
		for _, text := range []string{upsert, lookUp} {
			answer := query(t, s, text, map[string]any{"in": test.in, "id": test.in["id"]})
			if got := string(answer.Data["upsertUser"]); got != test.want {
				t.Errorf("got  %s %+v\nwant %s", got, answer.Errors, test.want)
			}
		}
	}
	if stats := s.Stats(); stats.UserUpserts != 2 || stats.UserLookups != 2 {
		t.Errorf("stats: %+v", stats)
	}
}

func TestUserErrors(t *testing.T) {
	s := newServer(t, known())
	for text, want := range map[string]int{
		`{user(id:"u1",accountId:"a1"){id}}`:                                   404,
		`{user(id:"",accountId:"a1"){id}}`:                                     400,
		`{user(id:"u1",accountId:" "){id}}`:                                    400,
		`mutation{upsertUser(userInput:{id:"u1"}){id}}`:                        400,
		`mutation{upsertUser(userInput:{id:"u",accountId:"a",email:"x"}){id}}`: 400,
	} {
		answer := query(t, s, text, nil)
		if len(answer.Errors) != 1 || answer.Errors[0].Extensions.APIError == nil ||
			answer.Errors[0].Extensions.APIError.StatusCode != want {
			t.Errorf("%s: %+v", text, answer)
		}
	}
}
