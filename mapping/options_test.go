package mapping_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/mapping"
)

// endless is an expression that runs for more than a second.
const endless = `($f := function($n){$f($n)}; $f(1))`

// TestRulesOnly maps events by the rules alone; every expression would fail.
func TestRulesOnly(t *testing.T) {
	plain := mustMapper(t, func(*mapping.Rules) {})
	failing := mustMapper(t, func(r *mapping.Rules) {
		const fails = `$error("x")`
		r.Segments, r.FromTrack, r.FromTrackBody, r.Transform = fails, fails, fails, fails
	})
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	inputs, err := filepath.Glob(filepath.Join("..", "testdata", "mapping", "*", "*.json"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%d inputs, %v", len(inputs), err)
	}
	for _, input := range inputs {
		event, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		want := plain.Map(event, now)
		got := failing.MapWith(event, now, mapping.Options{RulesOnly: true})
		want.Ensure = got.Ensure // the expression of users.from_track decides
		if string(got.AppendJSON(nil)) != string(want.AppendJSON(nil)) || got.MessageID != want.MessageID ||
			got.Identity != want.Identity || got.Event != want.Event {
			t.Errorf("%s: got %s, want %s", input, got.AppendJSON(nil), want.AppendJSON(nil))
		}
		// Expressions decide about the other events; these stay skipped or rejected.
		whole := failing.Map(event, now)
		switch got.Kind {
		case mapping.KindSkip, mapping.KindReject:
			if whole.Kind != got.Kind {
				t.Errorf("%s: the rules make %s of it, and expressions %s", input, got.AppendJSON(nil),
					whole.AppendJSON(nil))
			}
		default:
			if whole.Reason != mapping.RejectExpressionFailed {
				t.Errorf("%s: an expression was not evaluated: %s", input, whole.AppendJSON(nil))
			}
		}
	}
}

// TestDone ends a mapping whose expression runs on, and a mapping that waits for a slot.
func TestDone(t *testing.T) {
	rules := mapping.DefaultRules()
	rules.AnyAge, rules.Transform = true, endless
	rules.Segments = `"vip"`
	of, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	mapper := of.WithEvaluations(1)
	track := []byte(`{"type":"track","userId":"u","event":"e","messageId":"message-1"}`)
	identify := []byte(`{"type":"identify","userId":"u","messageId":"message-2"}`)

	first, second := make(chan struct{}), make(chan struct{})
	ended := make(chan mapping.Result)
	go func() {
		for { // until it is ended, not timed out, on any machine
			result := mapper.MapWith(track, time.Time{}, mapping.Options{Done: first})
			if result.Kind == mapping.KindUnfinished {
				ended <- result
				return
			}
		}
	}()
	close(second)
	waiting := mapper.MapWith(track, time.Time{}, mapping.Options{Done: second})
	if waiting.Kind != mapping.KindUnfinished {
		t.Errorf("got %s", waiting.AppendJSON(nil))
	}
	close(first)
	if result := <-ended; result.MessageID != "message-1" || result.Reason != "" {
		t.Errorf("got %+v", result)
	}
	// Its slot is free.
	result := mapper.Map(identify, time.Time{})
	if !strings.Contains(string(result.AppendJSON(nil)), `"segments":["vip"]`) {
		t.Errorf("got %s", result.AppendJSON(nil))
	}
	// Mappings without an expression neither wait nor end early.
	none := mustMapper(t, func(*mapping.Rules) {})
	result = none.MapWith(track, time.Time{}, mapping.Options{Done: second})
	if result.Kind != mapping.KindUserEvent {
		t.Errorf("got %s", result.AppendJSON(nil))
	}
}

// TestEvaluationsOfOthers lets the expressions of one mapper take all of its slots, and evaluates those of another
// mapper meanwhile.
func TestEvaluationsOfOthers(t *testing.T) {
	slow := mustMapper(t, func(r *mapping.Rules) { r.Transform = endless }).WithEvaluations(1)
	quick := mustMapper(t, func(r *mapping.Rules) { r.Transform = `$` }).WithEvaluations(1)
	event := []byte(`{"type":"track","userId":"u","event":"e","messageId":"message-1"}`)
	done, ended := make(chan struct{}), make(chan struct{})
	const evaluations = 64
	for range evaluations {
		go func() {
			for slow.MapWith(event, time.Time{}, mapping.Options{Done: done}).Kind != mapping.KindUnfinished {
			}
			ended <- struct{}{}
		}()
	}
	for range 20 {
		if result := quick.Map(event, time.Time{}); result.Kind != mapping.KindUserEvent {
			t.Errorf("got %s", result.AppendJSON(nil))
		}
		select {
		case <-ended:
			t.Fatal("a slow evaluation ended before done")
		default:
		}
	}
	close(done)
	for range evaluations {
		<-ended
	}
}
