package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/mapping"
)

// identifyCall is an identify call of a test's archive.
type identifyCall struct {
	user, id, at, traits string
	more                 string // members behind a comma
}

func (c identifyCall) line() string {
	text := fmt.Sprintf(`{"type":"identify","userId":%q,"messageId":%q`, c.user, c.id)
	if c.at != "" {
		text += fmt.Sprintf(`,"timestamp":%q`, c.at)
	}
	if c.traits != "" {
		text += `,"traits":` + c.traits
	}
	return text + c.more + "}"
}

// writeArchive writes files of lines into a directory, in their order.
func writeArchive(t testing.TB, dir string, files ...[]string) {
	t.Helper()
	for i, lines := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d.ndjson", i)),
			[]byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func mergedSpec(dir string) *replay.Spec {
	return &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI, Identify: replay.IdentifyMerged}
}

// profiles returns the bodies of the upserts by user, and resets them.
func (s *tenant) profiles() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	users := s.users
	s.users = make(map[string][]string)
	return users
}

const (
	hour10, hour11, hour12 = "2026-11-01T10:00:00Z", "2026-11-01T11:00:00Z", "2026-11-01T12:00:00Z"
)

// TestMerged merges the traits of users whose calls came in parts.
func TestMerged(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lines []string
		want  string // the custom fields and fields of the one upsert
	}{
		{"parts", []string{
			identifyCall{"u", "idn-00001", hour10, `{"email":"u1@example.com","firstName":"Ann"}`, ""}.line(),
			identifyCall{"u", "idn-00002", hour11, `{"plan":"gold"}`, ""}.line(),
		}, `{"id":"u","accountId":"u","email":"u1@example.com","firstName":"Ann","customFields":{"plan":"gold"}}`},
		{"out of order", []string{
			identifyCall{"u", "idn-00001", hour12, `{"plan":"new"}`, ""}.line(),
			identifyCall{"u", "idn-00002", hour10, `{"plan":"old","a":1}`, ""}.line(),
			identifyCall{"u", "idn-00003", hour11, `{"plan":"middle","a":2,"b":3}`, ""}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"plan":"new","a":2,"b":3}}`},
		{"null is carried", []string{
			identifyCall{"u", "idn-00001", hour10, `{"a":1,"b":2}`, ""}.line(),
			identifyCall{"u", "idn-00002", hour11, `{"a":null,"c":null}`, ""}.line(),
			identifyCall{"u", "idn-00003", hour12, `{"c":3}`, ""}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"c":3,"a":null,"b":2}}`},
		{"a time that is missing is the oldest", []string{
			identifyCall{"u", "idn-00001", hour10, `{"a":"timed"}`, ""}.line(),
			identifyCall{"u", "idn-00002", "", `{"a":"untimed","b":"untimed"}`, ""}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"a":"timed","b":"untimed"}}`},
		{"of the same time the last", []string{
			identifyCall{"u", "idn-00001", hour10, `{"a":1,"b":1}`, ""}.line(),
			identifyCall{"u", "idn-00002", hour10, `{"a":2}`, ""}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"a":2,"b":1}}`},
		{"no traits", []string{
			identifyCall{"u", "idn-00001", hour10, `{"a":1}`, ""}.line(),
			identifyCall{"u", "idn-00002", hour11, "", ""}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"a":1}}`},
		{"empty traits", []string{
			identifyCall{"u", "idn-00001", hour10, `{"a":1}`, ""}.line(),
			identifyCall{"u", "idn-00002", hour11, ` { } `, ""}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"a":1}}`},
		{"traits of the context", []string{
			identifyCall{"u", "idn-00001", hour10, "", `,"context":{"traits":{"a":1,"b":1}}`}.line(),
			identifyCall{"u", "idn-00002", hour11, "", `,"context":{"traits":{"a":2}}`}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"a":2,"b":1}}`},
		{"names with escapes", []string{
			identifyCall{"u", "idn-00001", hour10, `{"plan":"old","\"q\"":1}`, ""}.line(),
			identifyCall{"u", "idn-00002", hour11, `{"pl\u0061n":"new"}`, ""}.line(),
		}, `{"id":"u","accountId":"u","customFields":{"plan":"new","q":1}}`},
		{"a numeric userId", []string{
			`{"type":"identify","userId":42,"messageId":"idn-00005","timestamp":"` + hour10 + `","traits":{"a":1}}`,
			identifyCall{"42", "idn-00006", hour11, `{"b":2}`, ""}.line(),
		}, `{"id":"42","accountId":"42","customFields":{"b":2,"a":1}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			writeArchive(t, dir, test.lines)
			to := newTenant()
			p := startProcess(t, replaytest.StorePath(t), to)
			defer p.end()
			want := fmt.Sprintf("1 delivered, %d skipped identify_superseded", len(test.lines)-1)
			if got := replaytest.Text(p.deliver(mergedSpec(dir))); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			for user, bodies := range to.profiles() {
				if len(bodies) != 1 || bodies[0] != test.want {
					t.Errorf("user %s: %q\nwant %s", user, bodies, test.want)
				}
			}
			again := replaytest.Text(p.deliver(mergedSpec(dir)))
			if want := fmt.Sprintf("1 duplicate already_delivered, %d skipped identify_superseded",
				len(test.lines)-1); again != want {
				t.Errorf("the second run: %s, want %s", again, want)
			}
		})
	}
}

// mergedModel merges calls of one user by the rule (M25).
func mergedModel(calls []identifyCall) map[string]any {
	sorted := slices.Clone(calls)
	slices.SortStableFunc(sorted, func(a, b identifyCall) int { return strings.Compare(a.at, b.at) })
	merged := make(map[string]any)
	for _, call := range sorted {
		var traits map[string]any
		if call.traits != "" && json.Unmarshal([]byte(call.traits), &traits) != nil {
			panic(call.traits)
		}
		maps.Copy(merged, traits)
	}
	return merged
}

// TestMergedLikeModel merges many calls of many users over several files, with memory for all of them and for few, and
// compares the upserts with a merge in memory.
func TestMergedLikeModel(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	const users, calls, files = 150, 900, 7
	ofUser := make(map[string][]identifyCall)
	lines := make([][]string, files)
	for i := range calls {
		call := identifyCall{user: fmt.Sprintf("u-%d", random.IntN(users)*random.IntN(users)/users),
			id: fmt.Sprintf("message-%d", i)}
		if random.IntN(10) > 0 {
			call.at = time.Date(2026, 11, 1, random.IntN(24), random.IntN(4), 0, 0, time.UTC).Format(time.RFC3339)
		}
		traits := make(map[string]any)
		for range random.IntN(5) {
			traits[fmt.Sprintf("t%d", random.IntN(8))] = []any{nil, true, i, fmt.Sprintf("é %d", i)}[random.IntN(4)]
		}
		if text, _ := json.Marshal(traits); random.IntN(8) > 0 {
			call.traits = string(text)
		}
		ofUser[call.user] = append(ofUser[call.user], call)
		file := i * files / calls
		lines[file] = append(lines[file], call.line())
		if random.IntN(3) == 0 {
			lines[file] = append(lines[file],
				fmt.Sprintf(`{"type":"track","userId":%q,"event":"E","messageId":"track-%d","timestamp":%q}`,
					call.user, i, hour10))
		}
	}
	dir := t.TempDir()
	writeArchive(t, dir, lines...)
	for _, memory := range []int{0, 1, 2000, 40_000} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			to := newTenant()
			p := startProcess(t, replaytest.StorePath(t), to)
			defer p.end()
			spec := mergedSpec(dir)
			opts := p.options()
			opts.Memory, opts.Dir = memory, t.TempDir()
			opts = p.choose(spec, opts)
			if left, err := os.ReadDir(opts.Dir); err != nil || len(left) > 0 {
				t.Errorf("files with a name: %v, %v", left, err)
			}
			run := replaytest.Begin(p.t, p.store, spec)
			err := deliver(t, p.store, run, nil, spec, nil, opts)
			if err != nil {
				t.Fatal(err)
			}
			profiles := to.profiles()
			if len(profiles) != len(ofUser) {
				t.Errorf("%d users were upserted, want %d", len(profiles), len(ofUser))
			}
			for user, calls := range ofUser {
				bodies := profiles[user]
				var got struct{ CustomFields map[string]any }
				if len(bodies) != 1 || json.Unmarshal([]byte(bodies[0]), &got) != nil {
					t.Fatalf("user %s: %q", user, bodies)
				}
				want, _ := json.Marshal(mergedModel(calls))
				if fields, _ := json.Marshal(got.CustomFields); string(fields) != string(want) &&
					len(got.CustomFields)+len(mergedModel(calls)) > 0 {
					t.Errorf("user %s has %s, want %s", user, fields, want)
				}
			}
		})
	}
}

// accept accepts calls as live traffic and waits for their outcomes.
func (p *process) accept(lines ...string) {
	p.t.Helper()
	queue, err := p.store.Connection(context.Background(), replaytest.Connection, replaytest.Tenant)
	if err != nil {
		p.t.Fatal(err)
	}
	events := make([][]byte, len(lines))
	for i, line := range lines {
		events[i] = []byte(line)
	}
	if _, err := delivery.NewDurable(p.mapper, queue, delivery.DurableOptions{}).Accept(context.Background(),
		events); err != nil {
		p.t.Fatal(err)
	}
	for range lines {
		<-p.settled
	}
}

// TestMergedAndLiveTraffic replays an archive whose calls also came live.
func TestMergedAndLiveTraffic(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }
	first := identifyCall{"u", "message-1", ago(3 * time.Hour), `{"a":1}`, ""}.line()
	second := identifyCall{"u", "message-2", ago(2 * time.Hour), `{"b":2}`, ""}.line()
	newer := identifyCall{"u", "message-3", ago(time.Hour), `{"b":3}`, ""}.line()
	other := identifyCall{"other", "message-4", ago(time.Hour), `{"b":3}`, ""}.line()
	overriding := identifyCall{"u", "message-5", ago(2 * time.Hour), `{"a":2}`, ""}.line()
	future := identifyCall{"u", "message-6", ago(-time.Hour), `{"b":2}`, ""}.line()
	untimed := identifyCall{"u", "message-7", "", `{"b":2}`, ""}.line()
	track := `{"type":"track","userId":"u","event":"E","messageId":"message-8"}`
	for _, test := range []struct {
		name          string
		live, archive []string
		want          string
	}{
		{"the newest call came live, without older traits", []string{second}, []string{first, second},
			"1 delivered, 1 skipped identify_superseded"},
		{"all calls came live, the older one late", []string{second, first}, []string{first, second},
			"1 delivered, 1 skipped identify_superseded"},
		{"the newest call came live, and says it all", []string{overriding}, []string{first, overriding},
			"1 duplicate already_delivered, 1 skipped identify_superseded"},
		{"one call, which came live", []string{second}, []string{second}, "1 duplicate already_delivered"},
		{"a newer profile came live", []string{newer}, []string{first, second}, "2 skipped identify_superseded"},
		{"several newer profiles came live", []string{newer, overriding}, []string{first, second},
			"2 skipped identify_superseded"},
		{"the profile of another user came live", []string{other}, []string{first, second},
			"1 delivered, 1 skipped identify_superseded"},
		{"only an event came live", []string{track}, []string{first, second},
			"1 delivered, 1 skipped identify_superseded"},
		{"the archive is newer than what came live", []string{newer}, []string{first, future},
			"1 delivered, 1 skipped identify_superseded"},
		{"a call without a time is older than what came live", []string{newer}, []string{untimed},
			"1 skipped identify_superseded"},
		{"a call without a time, which came live", []string{untimed}, []string{untimed, first},
			"1 delivered, 1 skipped identify_superseded"},
	} {
		for _, which := range []replay.Identify{replay.IdentifyMerged, replay.IdentifyNewest} {
			t.Run(fmt.Sprint(test.name, "/", which), func(t *testing.T) {
				to := newTenant()
				p := startProcess(t, replaytest.StorePath(t), to)
				defer p.end()
				p.accept(test.live...)
				to.profiles()
				dir := t.TempDir()
				writeArchive(t, dir, test.archive)
				spec := mergedSpec(dir)
				spec.Identify = which
				want := test.want
				if which == replay.IdentifyNewest && slices.Contains(test.live, test.archive[len(test.archive)-1]) &&
					want != "1 duplicate already_delivered" {
					want = "1 duplicate already_delivered, 1 skipped identify_superseded"
				}
				look := p.ledger()
				opts := chooseIdentify(t, spec, p.options())
				counted := dryRun(t, spec, look, opts)
				foreseen := strings.Replace(replaytest.Text(counted.Outcomes), "1 pending", "1 delivered", 1)
				if parts := strings.Split(foreseen, ", "); len(parts) == 2 &&
					strings.Contains(parts[1], "delivered") && strings.Contains(parts[0], "skipped") {
					foreseen = parts[1] + ", " + parts[0]
				}
				if foreseen != want {
					t.Errorf("foreseen: %s, want %s", foreseen, want)
				}
				if got := replaytest.Text(p.deliver(spec)); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

// TestMergedResumed ends a replay at every batch and resumes it. Each user has one upsert, and every line counts once.
func TestMergedResumed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files [3][]string
	const users = 24
	for user := range users {
		for i := range files {
			files[i] = append(files[i], identifyCall{fmt.Sprintf("u-%d", user), fmt.Sprintf("message-%d-%d", user, i),
				fmt.Sprintf("2026-11-01T%02d:00:00Z", (user+7*i)%24), fmt.Sprintf(`{"t%d":%d}`, i, user), ""}.line())
		}
	}
	writeArchive(t, dir, files[:]...)
	spec := mergedSpec(dir)
	first, step := replaytest.CrashPoints()
	for at := first; ; at += step {
		to := newTenant()
		path := replaytest.StorePath(t)
		p := startProcess(t, path, to)
		opts := p.choose(spec, p.options())
		opts.Window = 4
		failing := &faulty{RunStore: p.store, at: at, after: at%2 == 0}
		run := replaytest.Begin(p.t, failing, spec)
		err := deliver(t, failing, run, nil, spec, nil, opts)
		crashed := errors.Is(err, errCrash)
		if err != nil && !crashed {
			t.Fatal(err)
		}
		p.end()
		p = startProcess(t, path, to)
		if crashed {
			taken, objects, err := p.store.TakeRun(context.Background(), run.ID)
			if err != nil {
				t.Fatal(err)
			}
			opts := p.choose(spec, p.options())
			err = deliver(t, p.store, taken, objects, spec, nil, opts)
			if err != nil {
				t.Fatal(err)
			}
		}
		outcomes := replaytest.Text(replaytest.Outcomes(p.t, p.store, run.ID))
		p.end()
		if want := fmt.Sprintf("%d delivered, %d skipped identify_superseded", users, 2*users); outcomes != want {
			t.Fatalf("crash at batch %d: %s, want %s", at, outcomes, want)
		}
		for user, bodies := range to.profiles() {
			if len(bodies) != 1 || strings.Count(bodies[0], `"t`) != 3 {
				t.Errorf("crash at batch %d: user %s has the upserts %q", at, user, bodies)
			}
		}
		if !crashed {
			if at < 6 {
				t.Fatalf("only %d batches", at)
			}
			return
		}
	}
}

// TestArchiveChangesBetweenReadings changes objects between the two readings: their calls are sent unchanged.
func TestArchiveChangesBetweenReadings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeArchive(t, dir, []string{identifyCall{"u", "message-1", hour10, `{"a":1}`, ""}.line(),
		identifyCall{"u", "message-2", hour11, `{"b":2}`, ""}.line()},
		[]string{identifyCall{"v", "message-3", hour10, `{"a":1}`, ""}.line()})
	to := newTenant()
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	spec := mergedSpec(dir)
	opts := p.choose(spec, p.options())
	for name, call := range map[string]identifyCall{"0001": {"w", "message-4", hour10, `{"c":1}`, ""},
		"0002": {"u", "message-5", hour12, `{"d":1}`, ""}} {
		name = filepath.Join(dir, name+".ndjson")
		if err := os.WriteFile(name, []byte(call.line()+"\n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	run := replaytest.Begin(p.t, p.store, spec)
	err := deliver(t, p.store, run, nil, spec, nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := replaytest.Text(replaytest.Outcomes(p.t, p.store,
		run.ID)), "3 delivered, 1 skipped identify_superseded"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for user, bodies := range to.profiles() {
		want := []string{`{"id":"u","accountId":"u","customFields":{"b":2,"a":1}}`,
			`{"id":"u","accountId":"u","customFields":{"d":1}}`}
		if user == "w" {
			want = []string{`{"id":"w","accountId":"w","customFields":{"c":1}}`}
		}
		if !slices.Equal(bodies, want) {
			t.Errorf("user %s: %q, want %q", user, bodies, want)
		}
	}
}

// TestMergedAccount tells users apart by their accounts, and never moves one to the account of an older call.
func TestMergedAccount(t *testing.T) {
	t.Parallel()
	rules := mapping.DefaultRules()
	rules.AccountID = []string{"traits.company", "traits.team", "userId"}
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeArchive(t, dir, []string{
		identifyCall{"u", "message-1", hour10, `{"company":"one","a":1}`, ""}.line(),
		identifyCall{"u", "message-2", hour11, `{"company":"two","b":2}`, ""}.line(),
		identifyCall{"u", "message-3", hour12, `{"company":"one","c":3}`, ""}.line(),
		// The merged traits would have the account three: the blank name wins.
		identifyCall{"v", "message-4", hour10, `{"company":"v","team":"three"}`, ""}.line(),
		identifyCall{"v", "message-5", hour11, `{"company":" "}`, ""}.line(),
	})
	to := newTenant()
	p := startProcessWith(t, replaytest.StorePath(t), to, mapper)
	defer p.end()
	const outcomes = "3 delivered, 2 skipped identify_superseded"
	if got := replaytest.Text(p.deliver(mergedSpec(dir))); got != outcomes {
		t.Errorf("got %s, want %s", got, outcomes)
	}
	profiles := to.profiles()
	got := slices.Sorted(slices.Values(append(profiles["u"], profiles["v"]...)))
	want := []string{`{"id":"u","accountId":"one","customFields":{"c":3,"a":1}}`,
		`{"id":"u","accountId":"two","customFields":{"b":2}}`, `{"id":"v","accountId":"v"}`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestMergedTooMuch limits the traits of one user.
func TestMergedTooMuch(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 3000 {
		lines = append(lines, identifyCall{"u", fmt.Sprintf("message-%d", i),
			fmt.Sprintf("2026-11-01T%02d:%02d:00Z", i/60%24, i%60),
			fmt.Sprintf(`{"t%d":%q}`, i, strings.Repeat("x", 1000)), ""}.line())
	}
	dir := t.TempDir()
	writeArchive(t, dir, lines)
	p := startProcess(t, replaytest.StorePath(t), newTenant())
	defer p.end()
	opts := p.options()
	opts.Memory = 64 << 10
	spec := mergedSpec(dir)
	opts = chooseIdentify(t, spec, opts)
	counted := dryRun(t, spec, nil, opts)
	if replaytest.Text(counted.Outcomes) != "2999 skipped identify_superseded, 1 pending" || counted.Merged != 1 ||
		counted.MergedCut != 1 {
		t.Errorf("%s, merged %d, cut %d", replaytest.Text(counted.Outcomes), counted.Merged, counted.MergedCut)
	}
}

// TestTemporaryFileFails gives a remedy when no temporary file can be written.
func TestTemporaryFileFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var lines []string
	for i := range 100 {
		lines = append(lines, identifyCall{fmt.Sprintf("u-%d", i), fmt.Sprintf("message-%d", i), hour10, `{"a":1}`,
			""}.line())
	}
	writeArchive(t, dir, lines)
	spec := mergedSpec(dir)
	err := replaytest.Read(t, spec, nil, nil, func(blocks replay.Blocks) error {
		_, err := replay.ChooseIdentify(context.Background(), spec, blocks,
			replay.Options{Mapper: replaytest.NewMapper(t), Memory: 1000, Dir: filepath.Join(dir, "missing")})
		return err
	})
	var failed *replay.TemporaryFileError
	if !errors.As(err, &failed) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "set TMPDIR") {
		t.Errorf("got %v", err)
	}
}
