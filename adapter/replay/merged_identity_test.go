package replay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/mapping"
)

// messageIDs are messageIds of each kind as members of a call: of the older call of a user and of the newest one.
var messageIDs = [][2]string{
	{`"messageId":"message-1",`, `"messageId":"message-2",`},
	{`"messageId":"message-3",`, `"messageId":"message-3",`},
	{`"messageId":"m-1",`, `"messageId":"m-2",`},
	{`"messageId":"m",`, `"messageId":"m",`},
	{`"messageId":"is no key 1",`, `"messageId":"is no key 2",`},
	{`"messageId":"` + strings.Repeat("x", 600) + `1",`, `"messageId":"` + strings.Repeat("é", 600) + `2",`},
	{`"messageId":"a\u0000b1",`, `"messageId":"a\u0000b2",`},
	{`"messageId":1,`, `"messageId":2,`},
	{`"messageId":12345678,`, `"messageId":12345679,`},
	{`"messageId":"",`, `"messageId":"",`},
	{`"messageId":" ",`, `"messageId":"  ",`},
	{`"messageId":null,`, `"messageId":null,`},
	{`"messageId":{},`, `"messageId":[],`},
	{"", ""},
	{`"messageId":"message-4",`, ""},
	{"", `"messageId":"message-5",`},
}

// callOf returns an identify call of the user with this number.
func callOf(user int, messageID string, ago time.Duration, traits string) string {
	at := time.Now().Add(-ago).UTC().Format(time.RFC3339)
	return fmt.Sprintf(`{"type":"identify","userId":"u-%d",%s"timestamp":%q,"traits":%s}`, user, messageID, at, traits)
}

// callsOf returns a call of each user.
func callsOf(which int, ago time.Duration, traits string) (lines []string) {
	for user, ids := range messageIDs {
		lines = append(lines, callOf(user, ids[which], ago, traits))
	}
	return lines
}

// acceptAll accepts calls as live traffic and waits for their outcomes. Some may be duplicates.
func (p *process) acceptAll(lines []string) {
	p.t.Helper()
	p.drain()
	queue, err := p.store.Connection(context.Background(), replaytest.Connection, replaytest.Tenant)
	if err != nil {
		p.t.Fatal(err)
	}
	events := make([][]byte, len(lines))
	for i, line := range lines {
		events[i] = []byte(line)
	}
	receipt, err := delivery.NewDurable(p.mapper, queue, delivery.DurableOptions{}).Accept(context.Background(),
		events)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, result := range receipt.Results {
		if result.Outcome == adapter.Pending {
			<-p.settled
		}
	}
}

// drain discards the results so far.
func (p *process) drain() {
	for {
		select {
		case <-p.settled:
		default:
			return
		}
	}
}

// foresee returns the outcomes of a dry run.
func (p *process) foresee(spec *replay.Spec, look *replay.Ledger) string {
	p.t.Helper()
	opts := chooseIdentify(p.t, spec, p.options())
	counted := dryRun(p.t, spec, look, opts)
	var parts []string
	for part := range strings.SplitSeq(replaytest.Text(counted.Outcomes), ", ") {
		parts = append(parts, strings.Replace(part, "pending", "delivered", 1))
	}
	slices.SortFunc(parts, func(a, b string) int {
		return strings.Compare(a[strings.IndexByte(a, ' '):], b[strings.IndexByte(b, ' '):])
	})
	return strings.Join(parts, ", ")
}

// replays compares a dry run and a run with the same wanted outcomes.
func (p *process) replays(what string, spec *replay.Spec, want string) {
	p.t.Helper()
	look := p.ledger()
	if got := p.foresee(spec, look); got != want {
		p.t.Errorf("%s: foreseen %s, want %s", what, got, want)
	}
	if got := replaytest.Text(p.deliver(spec)); got != want {
		p.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// wantUpsert compares the upserts of the users with one upsert of each.
func wantUpsert(t *testing.T, to *tenant, fields string) {
	t.Helper()
	profiles := to.profiles()
	for user, ids := range messageIDs {
		want := fmt.Sprintf(`{"id":"u-%d","accountId":"u-%d","customFields":%s}`, user, user, fields)
		if got := profiles[fmt.Sprintf("u-%d", user)]; len(got) != 1 || got[0] != want {
			t.Errorf("messageIds %.40q: upserts %q, want %s", ids, got, want)
		}
	}
}

// TestMergedIdentity tells merged upserts from the calls whose messageIds they have, of every kind (M25).
func TestMergedIdentity(t *testing.T) {
	t.Parallel()
	older, newest := callsOf(0, 3*time.Hour, `{"a":1,"b":1}`), callsOf(1, 2*time.Hour, `{"b":2}`)
	users := len(messageIDs)
	for name, live := range map[string][][]string{"newest": {newest}, "older": {older},
		"newest first": {newest, older}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			dir, to := t.TempDir(), newTenant()
			writeArchive(t, dir, older, newest)
			p := startProcess(t, replaytest.StorePath(t), to)
			defer p.end()
			for _, calls := range live {
				p.acceptAll(calls)
			}
			to.profiles()
			spec := mergedSpec(dir)
			p.replays("first", spec, fmt.Sprintf("%d delivered, %d skipped identify_superseded", users, users))
			wantUpsert(t, to, `{"b":2,"a":1}`)
			p.replays("second", spec, fmt.Sprintf("%d duplicate already_delivered, %d skipped identify_superseded",
				users, users))
			if name == "none" {
				p.acceptAll(newest)
				wantUpsert(t, to, `{"b":2}`)
			}
			writeArchive(t, dir, older, newest, callsOf(0, 4*time.Hour, `{"c":1}`))
			p.replays("with one more call of each", spec,
				fmt.Sprintf("%d delivered, %d skipped identify_superseded", users, 2*users))
			wantUpsert(t, to, `{"b":2,"a":1,"c":1}`)
		})
	}
}

// askedCalls is a ledger that keeps the queries.
type askedCalls struct{ arrivals []adapter.Arrival }

func (a *askedCalls) Known(_ context.Context, _, _ string, arrivals []adapter.Arrival) ([]mapping.Reason, error) {
	a.arrivals = append(a.arrivals, arrivals...)
	return make([]mapping.Reason, len(arrivals)), nil
}

func (a *askedCalls) Identifies(context.Context, string, string, []adapter.IdentifyQuery) ([]adapter.KnownIdentify,
	error) {
	return nil, nil
}

// TestMergedIdentityIsStored compares identities of merged upserts with those in existing stores. Another program has
// computed them from their description.
func TestMergedIdentityIsStored(t *testing.T) {
	t.Parallel()
	p := &process{t: t, mapper: replaytest.NewMapper(t)}
	for messageID, want := range map[string]adapter.Arrival{
		`"messageId":"message-2",`: {MessageID: "message-2", Identity: -1226029879944165215},
		`"messageId":"m",`:         {MessageID: "m", Identity: 4792734086125134903},
		`"messageId":12345678,`:    {MessageID: "12345678", Identity: -8825673215748956253},
		``:                         {MessageID: "merged:7b9bd7a6a229f327", Identity: 8906949798740488999},
	} {
		dir, ledger := t.TempDir(), &askedCalls{}
		writeArchive(t, dir, []string{
			identifyCall{"u", "message-1", hour10, `{"a":1}`, ""}.line(),
			`{"type":"identify","userId":"u",` + messageID + `"timestamp":"2026-11-26T07:57:16Z","traits":{"b":2}}`,
		})
		p.foresee(mergedSpec(dir), &replay.Ledger{Store: ledger})
		if len(ledger.arrivals) != 1 {
			t.Fatalf("%s: %d arrivals", messageID, len(ledger.arrivals))
		}
		if got := ledger.arrivals[0]; got.MessageID != want.MessageID || got.Identity != want.Identity || got.Keyed ||
			got.Fingerprint != 0 {
			t.Errorf("%s: %q %d, keyed %v, fingerprint %d; want %q %d", messageID, got.MessageID, got.Identity,
				got.Keyed, got.Fingerprint, want.MessageID, want.Identity)
		}
	}
}

// TestMergedAgain replays an archive that grows. Its merged traits return to an earlier state after others were sent,
// and their messageId never changes.
func TestMergedAgain(t *testing.T) {
	t.Parallel()
	dir, to := t.TempDir(), newTenant()
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	users := len(messageIDs)
	calls := [][]string{callsOf(1, 5*time.Hour, `{"a":1}`)}
	for i, b := range []int{2, 3, 2} {
		calls = append(calls, callsOf(1, time.Duration(4-i)*time.Hour, fmt.Sprintf(`{"b":%d}`, b)))
		writeArchive(t, dir, calls...)
		p.replays(fmt.Sprint(i), mergedSpec(dir),
			fmt.Sprintf("%d delivered, %d skipped identify_superseded", users, (i+1)*users))
		wantUpsert(t, to, fmt.Sprintf(`{"b":%d,"a":1}`, b))
	}
}

// knownCalls is a ledger that knows one identify call of each user.
type knownCalls []adapter.KnownIdentify

func (k knownCalls) Known(_ context.Context, _, _ string, arrivals []adapter.Arrival) ([]mapping.Reason, error) {
	return make([]mapping.Reason, len(arrivals)), nil
}

func (k knownCalls) Identifies(context.Context, string, string, []adapter.IdentifyQuery) ([]adapter.KnownIdentify,
	error) {
	return k, nil
}

// TestCallOfLedgerIsOfArchive finds out whether a call of the ledger is in the archive. By its own time it is not,
// whatever its messageId.
func TestCallOfLedgerIsOfArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newest := callsOf(1, 2*time.Hour, `{"b":2}`)
	writeArchive(t, dir, callsOf(0, 3*time.Hour, `{"a":1}`), newest)
	p, users := &process{t: t, mapper: replaytest.NewMapper(t)}, len(messageIDs)
	for _, own := range []bool{false, true} {
		var known knownCalls
		for user, line := range newest {
			mapped := p.mapper.Map([]byte(line), time.Time{})
			known = append(known, adapter.KnownIdentify{Query: user, MessageID: adapter.StoredText(mapped.MessageID),
				Own: own})
		}
		want := fmt.Sprintf("%d delivered, %d skipped identify_superseded", users, users)
		if own {
			want = fmt.Sprintf("%d skipped identify_superseded", 2*users)
		}
		if got := p.foresee(mergedSpec(dir), &replay.Ledger{Store: known}); got != want {
			t.Errorf("by its own time %v: %s, want %s", own, got, want)
		}
	}
	var other knownCalls
	for user := range newest {
		other = append(other, adapter.KnownIdentify{Query: user, MessageID: "message-9"})
	}
	if got, want := p.foresee(mergedSpec(dir),
		&replay.Ledger{Store: other}), fmt.Sprintf("%d skipped identify_superseded", 2*users); got != want {
		t.Errorf("another call: %s, want %s", got, want)
	}
}

// TestMergedRedriven redrives merged upserts that were refused, or that earlier rules rejected, beside the live
// delivery of the newest call.
func TestMergedRedriven(t *testing.T) {
	t.Parallel()
	rules := mapping.DefaultRules()
	rules.Segments = `$exists(traits.a) and $exists(traits.b) ? $error("both") : []`
	rejecting, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	users := len(messageIDs)
	for name, mapper := range map[string]*mapping.Mapper{"dead refused": replaytest.NewMapper(t),
		"rejected expression_failed": rejecting} {
		t.Run(name, func(t *testing.T) {
			dir, to := t.TempDir(), newTenant()
			newest := callsOf(1, 2*time.Hour, `{"b":2}`)
			writeArchive(t, dir, callsOf(0, 3*time.Hour, `{"a":1}`), newest)
			path, spec := replaytest.StorePath(t), mergedSpec(dir)
			p := startProcessWith(t, path, to, mapper)
			p.acceptAll(newest)
			wantUpsert(t, to, `{"b":2}`)
			to.refuses = true
			if got, want := replaytest.Text(p.deliver(spec)), fmt.Sprintf("%d skipped identify_superseded, %d %s",
				users, users, name); got != want {
				t.Errorf("replayed: %s, want %s", got, want)
			}
			p.end()
			to.refuses = false
			p = startProcess(t, path, to)
			defer p.end()
			ops := delivery.NewOperations(p.store, map[string]*mapping.Mapper{replaytest.Connection: p.mapper},
				map[string]string{replaytest.Connection: replaytest.Tenant})
			redriven, err := ops.Redrive(context.Background(), adapter.Filter{}, 0, "", false)
			if err != nil || redriven.Sent != users || redriven.Duplicate != 0 {
				t.Errorf("redriven %+v, %v", redriven, err)
			}
			for range redriven.Sent {
				<-p.settled
			}
			wantUpsert(t, to, `{"b":2,"a":1}`)
			p.replays("again", spec, fmt.Sprintf("%d duplicate already_delivered, %d skipped identify_superseded",
				users, users))
		})
	}
}
