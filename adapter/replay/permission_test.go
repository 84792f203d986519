package replay_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/mapping"
)

// switches are values of an entry in integrations, and their meaning.
var switches = []struct{ value, says string }{
	{`true`, "on"}, {`"true"`, "on"}, {`1`, "on"}, {`0.5`, "on"}, {`1e0`, "on"}, {`0e0`, "off"}, {`{}`, "on"},
	{`{"a":false}`, "on"}, {`[]`, "on"}, {`["x"]`, "on"},
	{`"no"`, "on"}, {`"falsely"`, "on"},
	{`false`, "off"}, {`"false"`, "off"}, {`"FALSE"`, "off"}, {`"False"`, "off"}, {`" false "`, "off"},
	{`"f\u0061lse"`, "off"},
	{`0`, "off"}, {`0.0`, "off"}, {`-0`, "off"}, {`-0.00`, "off"}, {`0E+7`, "off"}, {`0.0e9`, "off"},
	{`null`, "nothing"}, {`""`, "nothing"}, {`"  "`, "nothing"},
}

// kept reports for each of the lines, which have ids message-0 and so on, whether the filter keeps it.
func kept(t *testing.T, filter *replay.Filter, lines []string) []bool {
	t.Helper()
	selects := filter.Selector(nil)
	mapper := replaytest.NewMapper(t)
	kept := make([]bool, len(lines))
	for i, line := range lines {
		result := mapper.MapWith([]byte(line), time.Time{}, mapping.Options{Selects: selects})
		if result.Kind != mapping.KindUserEvent && string(result.Reason) != "integration_disabled" {
			t.Fatalf("%s: %+v", line, result)
		}
		kept[i] = result.Kind == mapping.KindUserEvent
	}
	return kept
}

// TestIntegrations combines every value of every entry with the others, in all spellings of the names and in both
// orders (M23).
func TestIntegrations(t *testing.T) {
	t.Parallel()
	names := []struct{ destination, all string }{
		{"SaaSquatch v2", "All"}, {"SaaSquatch v2", "all"}, {"SaaSquatch v2", "ALL"},
		{"saasquatch v2", "All"}, {"saasquatch-v2", "aLL"}, {"SaaSquatch_V2", "All"}, {"saasquatchV2", "All"},
		{"S\\u0061aSquatch v2", "\\u0061ll"},
	}
	var lines, wants []string
	add := func(want string, entries ...string) {
		line := fmt.Sprintf(`{"type":"track","event":"E","userId":"u","messageId":"message-%d","integrations":{%s}}`,
			len(lines), strings.Join(entries, ","))
		lines, wants = append(lines, line), append(wants, want)
	}
	for _, name := range names {
		for _, all := range switches {
			entryOfAll := `"` + name.all + `":` + all.value
			add(all.says, entryOfAll)
			add(all.says, `"Mixpanel":true`, entryOfAll)
			for _, own := range switches {
				want := own.says
				if want == "nothing" {
					want = all.says
				}
				entry := `"` + name.destination + `":` + own.value
				add(want, entry, entryOfAll)
				add(want, entryOfAll, entry)
			}
		}
	}
	for _, test := range []struct{ integrations, want string }{
		{`"Mixpanel":false`, "on"},
		{`"Webhook":false`, "on"},
		{`"All":false,"Webhooks":true`, "off"},
		{`"all":false,"Mixpanel":true`, "off"},
		// Spellings that contradict each other.
		{`"All":true,"all":false`, "off"}, {`"all":false,"All":true`, "off"}, {`"ALL":null,"all":false`, "off"},
		{`"SaaSquatch v2":true,"saasquatch-v2":false`, "on"}, {`"saasquatch-v2":false,"SaaSquatch v2":true`, "on"},
		{`"saasquatch v2":true,"saasquatch-v2":false`, "off"}, {`"saasquatch-v2":false,"saasquatch v2":true`, "off"},
		{`"SaaSquatch v2":null,"saasquatch-v2":false,"All":true`, "off"},
		// Names that only look alike.
		{`"SaaSquatch":false`, "on"}, {`"SaaSquatch v20":false`, "on"}, {`"A.l.l":false`, "on"},
		{`"allow":false`, "on"}, {`"":false`, "on"}, {`"--":false`, "on"},
	} {
		add(test.want, test.integrations)
	}
	for _, raw := range []string{`null`, `[]`, `false`, `"All"`, `0`} {
		lines = append(lines, fmt.Sprintf(`{"type":"track","event":"E","userId":"u","messageId":"message-%d",`+
			`"integrations":%s}`, len(lines), raw))
		wants = append(wants, "on")
	}
	got := kept(t, &replay.Filter{Integrations: replay.DefaultIntegrations}, lines)
	for i, want := range wants {
		if got[i] != (want != "off") {
			t.Errorf("%s: sent %t, want %s", lines[i], got[i], want)
		}
	}
	if len(lines) < 10_000 {
		t.Errorf("only %d cases", len(lines))
	}
}

// TestOtherIntegrations names other destinations, in their order.
func TestOtherIntegrations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		names        []string
		integrations string
		sent         bool
	}{
		{[]string{"Webhooks", "SaaSquatch v2"}, `"SaaSquatch v2":false,"Webhooks":true`, true},
		{[]string{"SaaSquatch v2", "Webhooks"}, `"SaaSquatch v2":false,"Webhooks":true`, false},
		{[]string{"SaaSquatch v2", "Webhooks"}, `"SaaSquatch v2":null,"Webhooks":false`, false},
		{[]string{"Webhooks"}, `"SaaSquatch v2":true,"All":false`, false},
		{[]string{"Webhooks (Actions)"}, `"All":false,"Webhooks (Actions)":true`, true},
		{[]string{"Café"}, `"CAFÉ":false`, false},
		// As today's version stores its default, and other orders.
		{[]string{"SaaSquatch v2", "All"}, `"SaaSquatch v2":true,"all":false`, true},
		{[]string{"All", "SaaSquatch v2"}, `"SaaSquatch v2":true,"all":false`, false},
		{nil, `"All":false,"SaaSquatch v2":false`, true},
	} {
		line := fmt.Sprintf(`{"type":"track","event":"E","userId":"u","messageId":"message-1","integrations":{%s}}`,
			test.integrations)
		if got := kept(t, &replay.Filter{Integrations: test.names}, []string{line}); got[0] != test.sent {
			t.Errorf("%q over %s: sent %t", test.names, test.integrations, got[0])
		}
	}
}

// TestConsent combines every value of a preference with every list of categories (M24).
func TestConsent(t *testing.T) {
	t.Parallel()
	consent := func(preferences string) string {
		return `{"type":"track","event":"E","userId":"u","messageId":"message-1",` +
			`"context":{"consent":{"categoryPreferences":` + preferences + `}}}`
	}
	const sent, denied = "1 pending", "1 skipped consent_denied"
	for _, value := range switches {
		want := sent
		if value.says == "off" {
			want = denied
		}
		line := consent(`{"Analytics":true,"Advertising":` + value.value + `}`)
		for _, categories := range [][]string{{"Advertising"}, {"Analytics", "Advertising"}, {"advertising"}} {
			if got := count(t, &replay.Spec{Filter: replay.Filter{Consent: categories}}, line); got != want {
				t.Errorf("%q over %s: %s, want %s", categories, value.value, got, want)
			}
		}
		for _, categories := range [][]string{nil, {"Analytics"}, {"Other"}} {
			if got := count(t, &replay.Spec{Filter: replay.Filter{Consent: categories}}, line); got != sent {
				t.Errorf("%q over %s: %s", categories, value.value, got)
			}
		}
	}
	for _, test := range []struct{ line, want string }{
		{`{"type":"track","event":"E","userId":"u",` +
			`"context":{"consent":{"category\u0050references":{"\u0041":false}}}}`, denied},
		{`{"type":"track","event":"E","userId":"u","Context":{"consent":{"categoryPreferences":{"a":false}}}}`,
			denied},
		{consent(`[]`), sent}, {consent(`null`), sent}, {consent(`{}`), sent}, {consent(`false`), sent},
		{`{"type":"track","event":"E","userId":"u","context":{"consent":null,"x":"categoryPreferences"}}`, sent},
		{`{"type":"track","event":"E","userId":"u","context":{"consent":{"categoryPreferences":{"B":false}}}}`, sent},
		{`{"type":"track","event":"E","userId":"u","properties":{"categoryPreferences":{"A":false}}}`, sent},
	} {
		if got := count(t, &replay.Spec{Filter: replay.Filter{Consent: []string{"A"}}}, test.line); got != test.want {
			t.Errorf("%s: %s, want %s", test.line, got, test.want)
		}
	}
	if err := (&replay.Filter{Consent: []string{" "}}).Validate(); err == nil {
		t.Error("an empty category is valid")
	}
}

// TestConsentDenialsAreCounted counts the events that deny a category, in a dry run and in a run without a category.
func TestConsentDenialsAreCounted(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "events.ndjson")
	line := func(id int, preferences string) string {
		return fmt.Sprintf(`{"type":"track","event":"E","userId":"u","messageId":"message-%d",`+
			`"context":{"consent":{"categoryPreferences":%s}}}`+"\n", id, preferences)
	}
	// The filter leaves out the event of another user, so its consent does not count.
	lines := line(1, `{"A":true}`) + line(2, `{"A":true,"B":false}`) + line(3, `{"A":0}`) +
		strings.ReplaceAll(line(4, `{"A":false}`), `"u"`, `"v"`)
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		consent []string
		want    int64
	}{{nil, 2}, {[]string{"C"}, 0}} {
		spec := &replay.Spec{Sources: []string{file}, Via: replay.ViaAPI,
			Filter: replay.Filter{Users: []string{"u"}, Consent: test.consent}}
		p := startProcess(t, replaytest.StorePath(t), newTenant())
		counted := dryRun(t, spec, nil, p.options())
		if counted.ConsentDenials != test.want {
			t.Errorf("%q: %d in a dry run, want %d", test.consent, counted.ConsentDenials, test.want)
		}
		p.deliver(spec)
		run, objects, err := p.store.Run(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if report, err := replay.ReportRun(run, objects); err != nil || report.ConsentDenials != test.want {
			t.Errorf("%q: %+v in a run, want %d, %v", test.consent, report, test.want, err)
		}
		p.end()
	}
}

// TestSpecOfTodaysVersion reads a spec of an older version.
func TestSpecOfTodaysVersion(t *testing.T) {
	t.Parallel()
	spec, err := replay.ParseSpec([]byte(`{"sources":["a"],"filter":{"users":["u"],"integrations":["SaaSquatch v2",` +
		`"All"]},"identify":"newest","via":"api"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Validate(); err != nil || spec.Identify != replay.IdentifyNewest || spec.Filter.Consent != nil ||
		replay.NewUserMatches(&spec.Filter, true) != nil {
		t.Errorf("spec %+v, %v", spec, err)
	}
}
