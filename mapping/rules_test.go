package mapping_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/mapping"
)

func TestDefaultRulesAreValid(t *testing.T) {
	rules := mapping.DefaultRules()
	if err := rules.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	rules := mapping.Rules{
		AccountID:     []string{"a..b"},
		Only:          []string{"x"},
		Except:        []string{"y"},
		Keys:          map[string]string{"Signed Up": " "},
		RevenueScale:  "0",
		InvalidValues: "keep",
		MaxAge:        -time.Hour,
		MaxAhead:      -time.Hour,

		Transform:       "{",
		Segments:        "[traits.a",
		InvalidSegments: "keep",
		FromTrack:       "ALWAYS",
		FromTrackBody:   "1 +",
	}
	err := rules.Validate()
	for _, key := range []string{"account_id", "events.only", "events.keys", "events.revenue_scale", "invalid_values",
		"max_age", "max_ahead",
		"events.transform", "users.segments", "users.invalid_segments", "users.from_track", "users.from_track_body"} {
		if err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("no fault of %s in:\n%v", key, err)
		}
	}
	var fault *mapping.RuleError
	if !errors.As(err, &fault) {
		t.Errorf("no RuleError in %T", err)
	}
	if _, err := mapping.New(rules); err == nil {
		t.Error("New took invalid rules")
	}
}

func TestRevenueScales(t *testing.T) {
	for text, valid := range map[string]bool{
		"1": true, "100": true, "0.01": true, "1.0": true, "1e2": true,
		"": false, "0": false, "-1": false, "NaN": false, "Infinity": false, "1e10": false,
		"x": false, "1234567890123456789": false,
	} {
		rules := mapping.DefaultRules()
		rules.RevenueScale = text
		if err := rules.Validate(); (err == nil) != valid {
			t.Errorf("revenue_scale %q: %v", text, err)
		}
	}
}

func TestResultSharesNoMemoryWithTheEvent(t *testing.T) {
	always := mapping.DefaultRules()
	always.FromTrack = mapping.FromTrackAlways
	expressive := always
	expressive.FromTrackBody, expressive.Transform, expressive.Segments = "context.traits", "$", "traits.plan"
	for _, rules := range []mapping.Rules{always, expressive} {
		mapper, err := mapping.New(rules)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			`{"type":"track","userId":"u-1","event":"Signed Up","messageId":"12345678","properties":{"plan":"pro"},` +
				`"context":{"traits":{"email":"e"}}}`,
			`{"type":"identify","userId":"u-1","messageId":"12345678","traits":{"plan":"pro","name":"Jo Doe",` +
				`"email":"e","tags":["a"]}}`,
		} {
			event := []byte(text)
			result := mapper.Map(event, goldenNow)
			all := func() string {
				return string(result.AppendJSON(nil)) + fmt.Sprint(result)
			}
			before := all()
			clear(event)
			mapper.Map([]byte(`{"type":"track","userId":"another","event":"Another","properties":{"x":1}}`), goldenNow)
			if after := all(); after != before {
				t.Errorf("the result changed with the event's bytes: %q", after)
			}
		}
	}
}

// TestManyNames maps objects with so many names that the parser changes its search for duplicates. It also checks
// that the time for adversarial names is linear.
func TestManyNames(t *testing.T) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range []int{31, 32, 33, 34, 1000} {
		var names strings.Builder
		for i := range count {
			names.WriteString(`"same_start_` + strings.Repeat("-", i) + `_same_end":1,`)
		}
		event := `{"type":"track","userId":"u-1","event":"e","properties":{` + names.String() + `"last":1}}`
		if r := mapper.Map([]byte(event), goldenNow); r.Kind != mapping.KindUserEvent {
			t.Errorf("%d names: %s %s", count, r.Reason, r.Detail)
		}
		event = `{"type":"track","userId":"u-1","event":"e","properties":{` + names.String() +
			`"same_start__same_end":1}}`
		if r := mapper.Map([]byte(event), goldenNow); r.Reason != mapping.RejectInvalidJSON {
			t.Errorf("%d names and a duplicate: %+v", count, r)
		}
	}
}
