package mapping_test

import (
	"errors"
	"strings"
	"testing"

	"segment-saasquatch/mapping"
)

// TestAccountPaths checks which paths the rules accept, and the account that each finds.
func TestAccountPaths(t *testing.T) {
	const event = `{"type":"track","userId":"u","event":"e","groupId":"top","$group":"odd",` +
		`"context":{"groupId":"g","$id":"dollar","group id":"spaced","traits":{"company":{"id":7}}},` +
		`"properties":{"a":{"b":{"c":"deep"}}}}`
	for path, want := range map[string]string{
		"userId": "u", "$.userId": "u", "groupId": "top", "$.groupId": "top",
		"context.groupId": "g", "$.context.groupId": "g", "context.group id": "spaced",
		"context.$id": "dollar", "$.context.$id": "dollar",
		"context.traits.company.id": "7", "$.properties.a.b.c": "deep",
	} {
		mapper := mustMapper(t, func(r *mapping.Rules) { r.AccountID = []string{path} })
		if result := mapper.Map([]byte(event), goldenNow); result.UserEvent.AccountID != want {
			t.Errorf("%s: account %q %s, want %q", path, result.UserEvent.AccountID, result.Detail, want)
		}
	}
	for remedy, paths := range map[string][]string{
		"separated by dots": {
			"", ".", ".a", "a.", "a..b", "$", "$.", "$..a", "$.a..b", "$a", "$$.a", "$.$.a", "$.$a", "$ .a",
			"context.*", "$.*",
		},
		"brackets": {
			"$['context']", "context['groupId']", "$.context.traits[0].id", "context.traits]",
		},
		"replaced":    {"${ACCOUNT}", "context.${GROUP}", "$.${GROUP}", "{{ .Values.account }}", "context.{{.group}}"},
		"list":        {"context.groupId, userId", "context.groupId,userId"},
		"white space": {" userId", "userId ", "context. groupId", "context.groupId\t", " "},
	} {
		for _, path := range paths {
			rules := mapping.DefaultRules()
			rules.AccountID = []string{"userId", path}
			err := rules.Validate()
			fault, ok := errors.AsType[*mapping.RuleError](err)
			if !ok || fault.Key != "account_id" || !strings.Contains(fault.Problem, remedy) {
				t.Errorf("%q: %v, want a fault with %q", path, err, remedy)
			}
			if _, err := mapping.New(rules); err == nil {
				t.Errorf("New takes %q", path)
			}
		}
	}
}

// TestPlaceholdersMustShow checks that a blank placeholder is a fault, since it could never match.
func TestPlaceholdersMustShow(t *testing.T) {
	for _, blank := range []string{"", " ", "\u200b"} {
		rules := mapping.DefaultRules()
		rules.PlaceholderUserIDs = append(rules.PlaceholderUserIDs, blank)
		fault, ok := errors.AsType[*mapping.RuleError](rules.Validate())
		if !ok || fault.Key != "placeholder_user_ids" {
			t.Errorf("%q: %v", blank, rules.Validate())
		}
	}
	rules := mapping.DefaultRules()
	for _, list := range [][]string{nil, {}, {"null"}, {" guest "}, {"ſ", "K"}} {
		rules.PlaceholderUserIDs = list
		if err := rules.Validate(); err != nil {
			t.Errorf("%q: %v", list, err)
		}
	}
	// Case folding also joins letters inside ASCII with letters outside.
	mapper := mustMapper(t, func(r *mapping.Rules) { r.PlaceholderUserIDs = []string{"ſ1", "k2"} })
	for _, id := range []string{"s1", "S1", "ſ1", "K2", "k2", "\u212a2"} {
		result := mapper.Map([]byte(`{"type":"track","event":"e","userId":"`+id+`"}`), goldenNow)
		if result.Reason != mapping.SkipPlaceholderUserID {
			t.Errorf("%q: %+v", id, result)
		}
	}
}
