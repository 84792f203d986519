package mapping_test

import (
	"testing"

	"segment-saasquatch/mapping"
)

// TestUserUpsert checks results as other packages build them.
func TestUserUpsert(t *testing.T) {
	event := mapping.UserEvent{UserID: "u \"1\"", AccountID: "a/1", Key: "k", Body: []byte(`{}`)}
	own := mapping.UserUpsert{UserID: "u", AccountID: "a", Body: []byte(`{"id":"u","accountId":"a","email":"e"}`)}
	for name, test := range map[string]struct {
		result mapping.Result
		want   string
	}{
		"missing": {mapping.Result{Kind: mapping.KindUserEvent, UserEvent: event, Ensure: mapping.EnsureMissing},
			`{"id":"u \"1\"","accountId":"a/1"}`},
		"always": {mapping.Result{Kind: mapping.KindUserEvent, UserEvent: event, Ensure: mapping.EnsureAlways},
			`{"id":"u \"1\"","accountId":"a/1"}`},
		"its own": {mapping.Result{Kind: mapping.KindUserEvent, UserEvent: event, Ensure: mapping.EnsureMissing,
			Upserts: []mapping.UserUpsert{own}}, string(own.Body)},
		"never": {mapping.Result{Kind: mapping.KindUserEvent, UserEvent: event, Ensure: mapping.EnsureNever},
			""},
		"nothing said":  {mapping.Result{Kind: mapping.KindUserEvent, UserEvent: event}, ""},
		"identify call": {mapping.Result{Kind: mapping.KindUserUpsert, Upserts: []mapping.UserUpsert{own}}, ""},
		"skip":          {mapping.Result{Kind: mapping.KindSkip, Ensure: mapping.EnsureAlways}, ""},
	} {
		upsert, ok := test.result.UserUpsert()
		if got := string(upsert.Body); got != test.want || ok != (test.want != "") {
			t.Errorf("%s: got %s (%t), want %s", name, got, ok, test.want)
		}
	}
}
