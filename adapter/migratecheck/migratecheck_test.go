package migratecheck_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/migratecheck"
	"segment-saasquatch/mapping"
)

var now = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// all picks every event.
func all(*mapping.Call) (mapping.Kind, mapping.Reason, string) { return 0, "", "" }

func newMapper(t testing.TB, rules mapping.Rules) *mapping.Mapper {
	t.Helper()
	m, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tracked is a survey of a track event of each name.
func tracked(t testing.TB, rules mapping.Rules, names ...string) *migratecheck.Survey {
	t.Helper()
	s, m := migratecheck.NewSurvey(), newMapper(t, rules)
	for _, name := range names {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Take(m, fmt.Appendf(nil, `{"type":"track","userId":"u","event":%s}`, quoted), now, all) {
			t.Fatalf("%q was left out", name)
		}
	}
	return s
}

func upserted(bodies ...string) *mapping.Result {
	r := &mapping.Result{Kind: mapping.KindUserUpsert}
	for _, body := range bodies {
		r.Upserts = append(r.Upserts, mapping.UserUpsert{Body: []byte(body)})
	}
	return r
}

func TestEventKeys(t *testing.T) {
	for name, test := range map[string]struct {
		rules   func(*mapping.Rules)
		events  []string
		tenant  []string
		want    string // the differences in short
		unused  string
		keyless string
		config  string
	}{
		"nothing":  {},
		"the same": {events: []string{"Signup Completed"}, tenant: []string{"signupCompleted"}},
		"the same beside one": {events: []string{"Signup Completed"},
			tenant: []string{"signupCompleted", "signup_completed"}, unused: "signup_completed"},
		"an underscore": {
			events: []string{"Signup Completed", "Signup Completed"}, tenant: []string{"signup_completed"},
			want:   "signupCompleted 2 [Signup Completed] [signup_completed]",
			config: "events:\n  keys:\n    \"Signup Completed\": \"signup_completed\"\n",
		},
		"letter case": {
			events: []string{"userSignedUp"}, tenant: []string{"usersignedup"},
			want:   "userSignedUp 1 [userSignedUp] [usersignedup]",
			config: "events:\n  keys:\n    \"userSignedUp\": \"usersignedup\"\n",
		},
		"two names of one key": {
			events: []string{"sign up", "Sign-Up"}, tenant: []string{"sign_up"},
			want:   "signUp 2 [Sign-Up sign up] [sign_up]",
			config: "events:\n  keys:\n    \"Sign-Up\": \"sign_up\"\n    \"sign up\": \"sign_up\"\n",
		},
		"an accent": {
			events: []string{"Café Visited"}, tenant: []string{"caféVisited"},
			want:   "cafeVisited 1 [Café Visited] [caféVisited]",
			config: "events:\n  keys:\n    \"Café Visited\": \"caféVisited\"\n",
		},
		"two that are similar": {
			events: []string{"Signup Completed"}, tenant: []string{"signupcompleted", "signup_completed"},
			want:   "signupCompleted 1 [Signup Completed] [signup_completed signupcompleted]",
			config: `# one of them in events.keys: "Signup Completed": "signup_completed" or "signupcompleted"` + "\n",
		},
		"never seen": {events: []string{"New Thing"}, tenant: []string{"old"}, want: "newThing 1 [New Thing] []",
			unused: "old"},
		"configured": {
			rules:  func(r *mapping.Rules) { r.Keys = map[string]string{"Signup Completed": "signup-completed"} },
			events: []string{"Signup Completed"}, tenant: []string{"signup_completed"},
			want:   "signup-completed 1 [Signup Completed] [signup_completed]",
			config: "# in the place of its entry in events.keys: \"Signup Completed\": \"signup_completed\"\n",
		},
		"a key that cannot be configured": {events: []string{"a b"}, tenant: []string{"a\x00b"},
			want: "aB 1 [a b] [a\x00b]"},
		"no key": {
			events: []string{"購入", "登録", "登録"}, tenant: []string{"購入", "x"}, keyless: "登録 2 [] [];購入 1 [] [購入]",
			unused: "x",
			config: "events:\n  keys:\n    \"購入\": \"購入\"\n# needs a key in events.keys: \"登録\"\n",
		},
		"a name of signs": {events: []string{"!?"}, tenant: []string{"-", "?!"}, keyless: "!? 1 [] []", unused: "-;?!",
			config: "# needs a key in events.keys: \"!?\"\n"},
		"a hostile name": {
			events: []string{"\x1b[\u202e購\n\"#: {"}, keyless: "\x1b[\u202e購\n\"#: { 1 [] []",
			config: "# needs a key in events.keys: \"\\x1b[\\u202e購\\n\\\"#: {\"\n",
		},
		"orders":            {events: []string{"Order Completed"}, tenant: []string{"purchase", "refund"}},
		"orders never seen": {events: []string{"Order Completed"}, want: "purchase 1 [Order Completed] []"},
		"orders as any event": {events: []string{"Order Completed"}, tenant: []string{"orderCompleted"},
			want:   "purchase 1 [Order Completed] [orderCompleted]",
			config: "events:\n  keys:\n    \"Order Completed\": \"orderCompleted\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			rules := mapping.DefaultRules()
			if test.rules != nil {
				test.rules(&rules)
			}
			r := migratecheck.Compare(tracked(t, rules, test.events...), &rules,
				&migratecheck.Vocabulary{EventKeys: test.tenant})
			if got := short(r.EventKeys); got != test.want {
				t.Errorf("differences %q, want %q", got, test.want)
			}
			if got := short(r.Keyless); got != test.keyless {
				t.Errorf("without a key %q, want %q", got, test.keyless)
			}
			if got := strings.Join(r.Unused.EventKeys, ";"); got != test.unused {
				t.Errorf("unused %q, want %q", got, test.unused)
			}
			if got := r.Config(); got != test.config {
				t.Errorf("configuration\n%s\nwant\n%s", got, test.config)
			}
		})
	}
}

// short writes the differences on a line.
func short(list []migratecheck.Missing) string {
	var parts []string
	for _, m := range list {
		parts = append(parts, fmt.Sprintf("%s %d %v %v", m.Name, m.Events, m.From, m.Similar))
	}
	return strings.Join(parts, ";")
}

func TestOrders(t *testing.T) {
	rules := mapping.DefaultRules()
	rules.RemapOrders = false
	s := tracked(t, rules, "Order Completed", "Order Completed", "Order Refunded", "Other")
	r := migratecheck.Compare(s, &rules, &migratecheck.Vocabulary{EventKeys: []string{"purchase", "other",
		"orderRefunded"}})
	want := []migratecheck.Order{{Event: "Order Completed", Key: "orderCompleted", Reserved: "purchase", Events: 2}}
	if !reflect.DeepEqual(r.Orders, want) || r.Differences() != 1 || r.Config() != "events:\n  remap_orders: true\n" {
		t.Errorf("got %+v of %d and\n%s", r.Orders, r.Differences(), r.Config())
	}
	r = migratecheck.Compare(s, &rules, &migratecheck.Vocabulary{EventKeys: []string{"orderCompleted", "orderRefunded",
		"other"}})
	if r.Differences() != 0 || r.Config() != "" {
		t.Errorf("a tenant without purchases: %+v", r)
	}
	rules.Keys = map[string]string{"Order Completed": "bought"}
	r = migratecheck.Compare(tracked(t, rules, "Order Completed"), &rules,
		&migratecheck.Vocabulary{EventKeys: []string{"bought", "purchase"}})
	if r.Differences() != 0 {
		t.Errorf("an order with a configured key: %+v", r)
	}
}

func TestUsers(t *testing.T) {
	s := migratecheck.NewSurvey()
	s.Add("", upserted(`{"id":"u","customFields":{"plan":"pro","companyName":"x","gone":null},"segments":["~*",`+
		`"vip","~old","Beta"]}`,
		`{"id":"u","customFields":{"plan":"pro","new":1}}`))
	s.Add("", upserted(`{"id":"u","customFields":{"plan":true,"lastSeenDate":1},"segments":["archived"]}`))
	s.Add("", upserted(`{"id":"u","customFields":[],"segments":"no"}`, `[`))
	event := upserted(`{"id":"u","segments":["vip"]}`) // of a track event that makes its user
	event.Kind, event.UserEvent.Key, event.Ensure = mapping.KindUserEvent, "k", mapping.EnsureMissing
	s.Add("K", event)
	rules := mapping.DefaultRules()
	r := migratecheck.Compare(s, &rules, &migratecheck.Vocabulary{
		EventKeys: []string{"k"},
		CustomFields: []string{"plan", "company_name", "age", "firstPurchaseDate", "lastSeenDate",
			"totalPurchaseCount", "lastPurchaseDate", "gone"},
		Segments: []string{"beta", "archived", "left"}, Archived: []string{"archived"},
	})
	if got, want := short(r.CustomFields), "companyName 1 [] [company_name];new 1 [] []"; got != want {
		t.Errorf("custom fields %q, want %q", got, want)
	}
	want := []migratecheck.Missing{{Name: "vip", Events: 2, Similar: []string{}},
		{Name: "Beta", Events: 1, Similar: []string{"beta"}},
		{Name: "archived", Events: 1, Similar: []string{}, Archived: true}}
	if !reflect.DeepEqual(r.Segments, want) {
		t.Errorf("segments %+v, want %+v", r.Segments, want)
	}
	if unused := (migratecheck.Vocabulary{EventKeys: []string{}, CustomFields: []string{"age", "gone"},
		Segments: []string{"left"}}); !reflect.DeepEqual(r.Unused, unused) {
		t.Errorf("unused %+v, want %+v", r.Unused, unused)
	}
	if s.Events != 4 || s.Upserts != 4 || r.Differences() != 5 || r.Config() != "" {
		t.Errorf("%d events, %d upserts, %d differences, configuration %q", s.Events, s.Upserts, r.Differences(),
			r.Config())
	}
}

// TestSurvey: events outside the time window are not sent, but have their names.
func TestSurvey(t *testing.T) {
	rules := mapping.DefaultRules()
	rules.Except = []string{"Left Out"}
	s, m := migratecheck.NewSurvey(), newMapper(t, rules)
	sampled := func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		if string(c.MessageID()) == "out" {
			return mapping.KindSkip, "filtered_sample", ""
		}
		return 0, "", ""
	}
	for line, taken := range map[string]bool{
		`{"type":"track","userId":"u","event":"Old One","timestamp":"2001-01-01"}`:     true,
		`{"type":"track","userId":"u","event":"New One","timestamp":"2026-10-31"}`:     true,
		`{"type":"track","userId":"u","event":"Out","messageId":"out"}`:                false,
		`{"type":"track","anonymousId":"a","event":"Anonymous"}`:                       true,
		`{"type":"track","userId":"u","event":"Left Out"}`:                             true,
		`{"type":"page","userId":"u","name":"Home","event":"Page"}`:                    true,
		`{"type":"track","userId":"u","event":"購入"}`:                                   true,
		`{"type":"track","userId":"u","event":"` + strings.Repeat("long ", 300) + `"}`: true,
		`no JSON`: true,
	} {
		if got := s.Take(m, []byte(line), now, sampled); got != taken {
			t.Errorf("%s: taken %t", line, got)
		}
	}
	want := &migratecheck.Survey{
		Events: 8, Unnamed: 1,
		Keys:         map[string]*migratecheck.Key{"Old One": {"oldOne", 1}, "New One": {"newOne", 1}, "購入": {"", 1}},
		CustomFields: map[string]int64{}, Segments: map[string]int64{},
		Skipped: map[mapping.Reason]int64{
			mapping.SkipOutsideTimeWindow: 1, mapping.SkipNoUserID: 1, mapping.SkipEventNotSelected: 1,
			mapping.SkipUnsupportedType: 1,
		},
		Rejected: map[mapping.Reason]int64{mapping.RejectEmptyEventKey: 1, mapping.RejectInvalidJSON: 1},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

func TestSurveyIsBounded(t *testing.T) {
	s := migratecheck.NewSurvey()
	for i := range 10_010 {
		result := upserted(fmt.Sprintf(`{"customFields":{"f%d":1},"segments":["s%d"]}`, i, i))
		result.Kind, result.UserEvent.Key = mapping.KindUserEvent, "k"
		s.Add(fmt.Sprint("name ", i), result)
	}
	s.Add("name 0", upserted(`{"customFields":{"f0":1}}`))
	if len(s.Keys) != 10_000 || len(s.CustomFields) != 10_000 || len(s.Segments) != 10_000 || s.Unnamed != 30 ||
		s.CustomFields["f0"] != 2 {
		t.Errorf("%d keys, %d custom fields, %d segments, %d left out", len(s.Keys), len(s.CustomFields),
			len(s.Segments), s.Unnamed)
	}
}

// FuzzConfig takes any name of an event, and a key of a tenant that is like it: the
// lines are printable, load, and reconcile what they can.
func FuzzConfig(f *testing.F) {
	f.Add("Signup Completed", "_")
	f.Add("購入: # {\"x\"}", "")
	f.Add("a\x00\u202e\ufeff\U000e0001b", "-")
	f.Add("$HOME ${X} !!binary *a &b", "\x7f")
	f.Add("null", "~")
	f.Add(strings.Repeat("\x01", 199)+"a", ".")
	f.Add(strings.Repeat("\x01", 200)+"a", ".")
	f.Add("~ \\ ' \u2028\u0085", "x")
	f.Fuzz(func(t *testing.T, name, suffix string) {
		name = strings.ToValidUTF8(name, "\ufffd") // as the mapping has it
		key := strings.ToLower(name) + strings.ToValidUTF8(suffix, "\ufffd")
		rules := mapping.DefaultRules()
		tenant := &migratecheck.Vocabulary{EventKeys: []string{key}}
		result := &mapping.Result{Kind: mapping.KindUserEvent}
		result.UserEvent.Key = "a key that no tenant has"
		survey := func(r *mapping.Result) *migratecheck.Survey {
			s := migratecheck.NewSurvey()
			s.Add(name, r)
			s.Add("購入だけ", &mapping.Result{Kind: mapping.KindReject, Reason: mapping.RejectEmptyEventKey})
			return s
		}
		text := migratecheck.Compare(survey(result), &rules, tenant).Config()
		for _, r := range text {
			if !unicode.IsPrint(r) && r != '\n' {
				t.Fatalf("not printable: %q", text)
			}
		}
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := config.Load(config.Source{File: file})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if err := loaded.ValidateMapping(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		keys := loaded.Connections[0].Mapping.Keys
		if len(keys) == 0 {
			return
		}
		if len(keys) != 1 || keys[name] != key {
			t.Fatalf("got %q, want %q for %q\n%s", keys, key, name, text)
		}
		result.UserEvent.Key = key // which the mapping sends verbatim
		if r := migratecheck.Compare(survey(result), &loaded.Connections[0].Mapping, tenant); len(r.EventKeys) != 0 {
			t.Fatalf("still different: %+v", r.EventKeys)
		}
	})
}
