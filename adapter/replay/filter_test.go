package replay_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/mapping/jsonata"
)

// count returns the outcomes of a dry run over lines.
func count(t *testing.T, spec *replay.Spec, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	spec.Sources, spec.Via = []string{file}, replay.ViaAPI
	opts := replaytest.NewOptions(t)
	if spec.Filter.Where != "" {
		where, err := jsonata.Compile(spec.Filter.Where)
		if err != nil {
			t.Fatal(err)
		}
		opts.Where = where
	}
	counted := dryRun(t, spec, nil, opts)
	return replaytest.Text(counted.Outcomes)
}

func TestFilter(t *testing.T) {
	t.Parallel()
	track := func(more string) string {
		return `{"type":"track","event":"Signed Up","userId":"u-1","messageId":"message-1",` +
			`"timestamp":"2026-11-10T00:00:00Z"` + more + `}`
	}
	at := func(day int) time.Time { return time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC) }
	plain := track("")
	const sent = "1 pending"
	for _, test := range []struct {
		name   string
		filter replay.Filter
		line   string
		want   string
	}{
		{"none", replay.Filter{}, plain, sent},
		{"event", replay.Filter{Events: []string{"A", "Signed Up"}}, plain, sent},
		{"another event", replay.Filter{Events: []string{"signed up"}}, plain, "1 skipped filtered_event"},
		{"user", replay.Filter{Users: []string{"u-1"}}, plain, sent},
		{"another user", replay.Filter{Users: []string{"u-2"}}, plain, "1 skipped filtered_user"},
		{"suppressed user", replay.Filter{Except: []string{"u-1"}}, plain, "1 skipped filtered_user"},
		{"suppressed among the wanted", replay.Filter{Users: []string{"u-1"}, Except: []string{"u-1"}}, plain,
			"1 skipped filtered_user"},
		{"a number as userId", replay.Filter{Except: []string{"12"}}, `{"type":"track","event":"A","userId":12}`,
			"1 skipped filtered_user"},
		{"since", replay.Filter{Since: at(10)}, plain, sent},
		{"before since", replay.Filter{Since: at(10).Add(time.Millisecond)}, plain, "1 skipped filtered_time"},
		{"until", replay.Filter{Until: at(10).Add(time.Millisecond)}, plain, sent},
		{"at until", replay.Filter{Until: at(10)}, plain, "1 skipped filtered_time"},
		{"without a time", replay.Filter{Since: at(1)},
			`{"type":"track","event":"A","userId":"u","messageId":"message-1"}`, "1 skipped filtered_time"},
		{"where", replay.Filter{Where: `properties.revenue > 10`}, track(`,"properties":{"revenue":11}`), sent},
		{"not where", replay.Filter{Where: `properties.revenue > 10`}, track(`,"properties":{"revenue":9}`),
			"1 skipped filtered_where"},
		{"where nothing is", replay.Filter{Where: `properties.revenue > 10`}, plain, "1 skipped filtered_where"},
		{"where that fails", replay.Filter{Where: `properties.revenue > 10`}, track(`,"properties":{"revenue":"x"}`),
			"1 rejected filtered_where_failed"},
		{"where of a number", replay.Filter{Where: `$number(properties.revenue) > 100`},
			track(`,"properties":{"revenue":100.5}`), sent},
		{"where of a number in text", replay.Filter{Where: `$number(properties.revenue) > 100`},
			track(`,"properties":{"revenue":"100.5"}`), sent},
		{"where of a smaller number in text", replay.Filter{Where: `$number(properties.revenue) > 100`},
			track(`,"properties":{"revenue":"39.95"}`), "1 skipped filtered_where"},
		{"where of no number", replay.Filter{Where: `$number(properties.revenue) > 100`}, plain,
			"1 skipped filtered_where"},
		{"where of text that is no number", replay.Filter{Where: `$number(properties.revenue) > 100`},
			track(`,"properties":{"revenue":"$5"}`), "1 rejected filtered_where_failed"},
		{"broken JSON before all", replay.Filter{Events: []string{"A"}}, `{"type":`, "1 rejected invalid_json"},
		{"no integrations", replay.Filter{Integrations: replay.DefaultIntegrations}, plain, sent},
		{"on", replay.Filter{Integrations: replay.DefaultIntegrations},
			track(`,"integrations":{"All":false,"SaaSquatch v2":true}`), sent},
		{"on with settings", replay.Filter{Integrations: replay.DefaultIntegrations},
			track(`,"integrations":{"All":false,"SaaSquatch v2":{}}`), sent},
		{"off", replay.Filter{Integrations: replay.DefaultIntegrations},
			track(`,"integrations":{"SaaSquatch v2":false}`), "1 skipped integration_disabled"},
		{"off among all", replay.Filter{Integrations: replay.DefaultIntegrations},
			track(`,"integrations":{"All":true,"SaaSquatch v2":false}`), "1 skipped integration_disabled"},
		{"all off", replay.Filter{Integrations: replay.DefaultIntegrations}, track(`,"integrations":{"All":false}`),
			"1 skipped integration_disabled"},
		{"another off", replay.Filter{Integrations: replay.DefaultIntegrations},
			track(`,"integrations":{"Amplitude":false}`), sent},
		{"null says nothing", replay.Filter{Integrations: replay.DefaultIntegrations},
			track(`,"integrations":{"SaaSquatch v2":null,"All":false}`), "1 skipped integration_disabled"},
		{"no integrations asked for", replay.Filter{}, track(`,"integrations":{"All":false}`), sent},
		{"an array", replay.Filter{Integrations: replay.DefaultIntegrations}, track(`,"integrations":[]`), sent},
		{"another name", replay.Filter{Integrations: []string{"Mine"}},
			track(`,"integrations":{"All":false,"Mine":true}`), sent},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := count(t, &replay.Spec{Filter: test.filter}, test.line); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestAnyAge lifts the time window.
func TestAnyAge(t *testing.T) {
	t.Parallel()
	const old = `{"type":"track","event":"A","userId":"u","messageId":"message-1","timestamp":"2019-11-10T00:00:00Z"}`
	if got, want := count(t, &replay.Spec{}, old), "1 skipped outside_time_window"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := count(t, &replay.Spec{AnyAge: true}, old), "1 pending"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSample takes about its share, and the same events every time.
func TestSample(t *testing.T) {
	t.Parallel()
	const n = 20_000
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"type":"track","event":"A","userId":"u","messageId":"message-%d"}`, i))
	}
	for _, share := range []float64{0.01, 0.25, 0.9, 1} {
		spec := &replay.Spec{Filter: replay.Filter{Sample: share}}
		got := count(t, spec, lines...)
		if again := count(t, spec, lines...); again != got {
			t.Errorf("%s, then %s", got, again)
		}
		var skipped, pending int
		if share < 1 {
			if _, err := fmt.Sscanf(got, "%d skipped filtered_sample, %d pending", &skipped, &pending); err != nil {
				t.Fatal(got, err)
			}
		} else if _, err := fmt.Sscanf(got, "%d pending", &pending); err != nil {
			t.Fatal(got, err)
		}
		// Five standard deviations of a random choice.
		if slack := 5 * math.Sqrt(n*share*(1-share)); math.Abs(float64(pending)-n*share) > slack ||
			skipped+pending != n {
			t.Errorf("a share of %v is %d of %d", share, pending, n)
		}
	}
}

// TestLongLine rejects a line that is too long for an event, and reads on.
func TestLongLine(t *testing.T) {
	t.Parallel()
	long := `{"type":"track","event":"A","userId":"u","x":"` + strings.Repeat("x", 10<<20) + `"}`
	if got, want := count(t, &replay.Spec{}, long,
		`{"type":"track","event":"A","userId":"u","messageId":"message-1"}`),
		"1 rejected invalid_json, 1 pending"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestValidateSpec finds each fault of a spec.
func TestValidateSpec(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	for _, test := range []struct {
		spec replay.Spec
		want string
	}{
		{replay.Spec{Via: replay.ViaAPI}, "no source"},
		{replay.Spec{Sources: []string{"a"}}, `via is ""`},
		{replay.Spec{Sources: []string{"a"}, Via: replay.ViaAPI, Limit: -1}, "limit is -1"},
		{replay.Spec{Sources: []string{"a"}, Via: replay.ViaAPI, From: day(2), To: day(1)}, "exchange them"},
		{replay.Spec{Sources: []string{"a"}, Via: replay.ViaAPI, FirePrograms: true},
			"fire-programs goes with via import"},
		{replay.Spec{Sources: []string{"a"}, Via: replay.ViaAPI, Identify: "old"}, `identify is "old"`},
		{replay.Spec{Sources: []string{"a", "-"}, Via: replay.ViaAPI, Identify: replay.IdentifyNewest},
			"standard input can be read only once"},
		{replay.Spec{Sources: []string{"a"}, Via: replay.ViaImport, Identify: replay.IdentifyAll},
			"an import job takes events only"},
		{replay.Spec{Sources: []string{"a"}, Via: replay.ViaAPI, Filter: replay.Filter{Since: day(2), Until: day(2)}},
			"exchange them"},
		{replay.Spec{Sources: []string{"a"}, Via: replay.ViaAPI, Filter: replay.Filter{Sample: 2}}, "sample is 2"},
	} {
		if err := test.spec.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.spec, err, test.want)
		}
	}
	good := replay.Spec{Sources: []string{"a"}, Via: replay.ViaImport, Identify: replay.IdentifyNone,
		FirePrograms: true, From: day(1), To: day(1)}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
