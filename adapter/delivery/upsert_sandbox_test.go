package delivery_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/mapping"
)

// newSenderTo returns a Sender to a sandbox over HTTP.
func newSenderTo(t *testing.T, opts sandbox.Options, sender delivery.SenderOptions) (*delivery.Sender,
	*sandbox.Server) {
	server, err := sandbox.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	target := httptest.NewServer(server)
	t.Cleanup(target.Close)
	client, err := saasquatch.New(saasquatch.Options{BaseURL: target.URL, TenantAlias: "t",
		APIKey: adapter.NewSecret("key"), UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return delivery.NewSender(client, sender), server
}

// mappedTrack returns an event whose user is created if need be, by the upserts.
func mappedTrack(user, messageID string, ensure mapping.Ensure, upserts ...string) *mapping.Result {
	body := fmt.Sprintf(`{"userId":%q,"accountId":%q,"idempotencyKey":%q,"events":[{"key":"x"}]}`, user, user,
		messageID)
	mapped := &mapping.Result{
		Kind: mapping.KindUserEvent, MessageID: messageID, Ensure: ensure,
		UserEvent: mapping.UserEvent{UserID: user, AccountID: user, Key: "x", IdempotencyKey: messageID,
			Body: []byte(body)},
	}
	mapped.Upserts = mappedIdentify(user, messageID, upserts...).Upserts
	return mapped
}

// mappedIdentify returns upserts with the members.
func mappedIdentify(user, messageID string, members ...string) *mapping.Result {
	mapped := &mapping.Result{Kind: mapping.KindUserUpsert, MessageID: messageID}
	for _, member := range members {
		body := fmt.Sprintf(`{"id":%q,"accountId":%q`, user, user)
		if member != "" {
			body += "," + member
		}
		mapped.Upserts = append(mapped.Upserts, mapping.UserUpsert{UserID: user, AccountID: user,
			Body: []byte(body + "}")})
	}
	return mapped
}

// TestSenderAtTheSandbox sends results to a SaaSquatch that knows no user at first.
func TestSenderAtTheSandbox(t *testing.T) {
	type step struct {
		mapped   *mapping.Result
		outcome  adapter.Outcome
		reason   mapping.Reason
		requests int
		warnings string
	}
	for name, test := range map[string]struct {
		opts    sandbox.Options
		sender  delivery.SenderOptions
		prepare func(*sandbox.Server)
		steps   []step
		events  uint64 // accepted in the end
		users   int
	}{
		"identify, then track": {
			steps: []step{
				{mappedIdentify("u@x.com", "message-1", `"firstName":"B"`, `"customFields":{"a":1}`),
					adapter.Delivered, "", 2, ""},
				{mappedTrack("u@x.com", "message-2", mapping.EnsureNever), adapter.Delivered, "", 1, ""},
			},
			events: 1, users: 1,
		},
		"track makes its user": {
			steps: []step{
				{mappedTrack("a/b", "message-1", mapping.EnsureMissing, `"email":"bob@example.com"`),
					adapter.Delivered, "", 3, ""},
				{mappedTrack("a/b", "message-2", mapping.EnsureMissing), adapter.Delivered, "", 1, ""},
				{mappedTrack("bare", "message-3", mapping.EnsureMissing), adapter.Delivered, "", 3, ""},
			},
			events: 3, users: 2,
		},
		"never": {
			steps: []step{{mappedTrack("u", "message-1", mapping.EnsureNever), adapter.Dead,
				mapping.ReasonUserNotFound, 1, ""}},
		},
		"a 404 burns the key": {
			opts: sandbox.Options{BurnKeys: true},
			steps: []step{{mappedTrack("u", "message-1", mapping.EnsureMissing), adapter.Duplicate,
				mapping.ReasonConflictAfterFailure, 3, ""}},
			events: 0, users: 1,
		},
		"no key is burnt by ensuring before": {
			opts: sandbox.Options{BurnKeys: true}, sender: delivery.SenderOptions{EnsureBefore: true},
			steps: []step{
				{mappedTrack("u", "message-1", mapping.EnsureMissing), adapter.Delivered, "", 2, ""},
				{mappedTrack("u", "message-2", mapping.EnsureMissing), adapter.Delivered, "", 1, ""},
				{mappedTrack("u", "message-2", mapping.EnsureMissing), adapter.Duplicate, mapping.ReasonConflict, 1,
					""},
			},
			events: 2, users: 1,
		},
		"always": {
			steps: []step{
				{mappedTrack("u", "message-1", mapping.EnsureAlways, ""), adapter.Delivered, "", 2, ""},
				{mappedTrack("u", "message-2", mapping.EnsureAlways, `"referable":"x"`), adapter.Delivered, "", 2,
					"upsert_refused"},
			},
			events: 2, users: 1,
		},
		"refused fields": {
			steps: []step{
				{mappedIdentify("u1", "message-1", `"locale":"en","firstName":"B"`), adapter.Delivered, "", 2,
					"field_refused"},
				{mappedIdentify("u2", "message-2",
					`"locale":"en","email":"x","referredByCodes":["?"],"shareLinks":{"p":"?"}`), adapter.Delivered, "",
					4, "field_refused"},
				{mappedIdentify("u3", "message-3", `"imageUrl":5`), adapter.Delivered, "", 2, "field_refused"},
				{mappedIdentify("u4", "message-4", `"customFields":{"a-b":1}`), adapter.Dead, mapping.ReasonRefused, 1,
					""},
				{mappedTrack("u5", "message-5", mapping.EnsureMissing, `"locale":"en"`), adapter.Delivered, "", 4,
					"field_refused"},
			},
			events: 1, users: 4,
		},
		"not to be tracked": {
			prepare: func(s *sandbox.Server) { s.DoNotTrack("u", "u") },
			steps: []step{
				{mappedIdentify("u", "message-1", ""), adapter.Dead, mapping.ReasonDoNotTrack, 1, ""},
				{mappedTrack("u", "message-2", mapping.EnsureMissing), adapter.Dead, mapping.ReasonDoNotTrack, 1, ""},
				{mappedTrack("u", "message-3", mapping.EnsureAlways, ""), adapter.Dead, mapping.ReasonDoNotTrack, 1,
					""},
			},
		},
		"a wrong key": {
			opts:  sandbox.Options{Tenants: map[string]string{"t": "another"}},
			steps: []step{{mappedIdentify("u", "message-1", ""), adapter.Pending, mapping.ReasonUnauthorized, 1, ""}},
		},
		"an unknown tenant": {
			opts: sandbox.Options{Tenants: map[string]string{"another": "key"}},
			steps: []step{
				{mappedIdentify("u", "message-1", ""), adapter.Pending, mapping.ReasonTenantNotFound, 1, ""},
				{mappedTrack("u", "message-2", mapping.EnsureMissing), adapter.Pending, mapping.ReasonTenantNotFound,
					1, ""},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sender, server := newSenderTo(t, test.opts, test.sender)
			if test.prepare != nil {
				test.prepare(server)
			}
			for i, step := range test.steps {
				got := sender.Send(t.Context(), step.mapped)
				var warnings []string
				for _, warning := range got.Warnings {
					warnings = append(warnings, string(warning))
				}
				if got.Outcome != step.outcome || got.Reason != step.reason || got.Requests != step.requests ||
					strings.Join(warnings, " ") != step.warnings {
					t.Errorf("step %d: got %+v", i, got)
				}
				for _, id := range []string{"u@x.com", "bob@example.com"} {
					if strings.Contains(got.Detail, id) {
						t.Errorf("step %d tells the user: %s", i, got.Detail)
					}
				}
			}
			if stats := server.Stats(); stats.EventsAccepted != test.events || stats.Users != test.users ||
				stats.UnexpectedRequests != 0 {
				t.Errorf("%d events, %d users, %d unexpected requests", stats.EventsAccepted, stats.Users,
					stats.UnexpectedRequests)
			}
		})
	}
}

// TestUpsertsOverEitherDelivery has an identify and an event of its user, and an event
// whose user is created for it, in one request to direct and to durable delivery.
func TestUpsertsOverEitherDelivery(t *testing.T) {
	events := [][]byte{
		[]byte(`{"type":"identify","userId":"u","messageId":"message-1"}`),
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-2"}`),
		[]byte(`{"type":"track","userId":"v","event":"x","messageId":"message-3"}`),
	}
	mapper := identifies(t, mapping.EnsureMissing)
	check := func(t *testing.T, server *sandbox.Server, results []adapter.Result) {
		t.Helper()
		for _, result := range results {
			if result.Outcome != adapter.Delivered || result.Attempts != 1 ||
				(result.MessageID == "message-1") != (result.EventKey == adapter.UpsertEventKey) {
				t.Errorf("got %+v", result)
			}
		}
		if stats := server.Stats(); len(results) != 3 || stats.Requests != 5 || stats.EventsAccepted != 2 ||
			stats.Users != 2 || stats.ByStatus[404] != 1 {
			t.Errorf("%d results, %+v", len(results), stats)
		}
	}
	t.Run("direct", func(t *testing.T) {
		sender, server := newSenderTo(t, sandbox.Options{}, delivery.SenderOptions{})
		direct := delivery.NewDirect(mapper, delivery.NewRetrier(sender,
			delivery.NewBreaker(delivery.BreakerOptions{}), delivery.RetrierOptions{}),
			delivery.DirectOptions{Budget: time.Minute})
		receipt, err := direct.Accept(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		check(t, server, receipt.Results)
	})
	t.Run("durable", func(t *testing.T) {
		sender, server := newSenderTo(t, sandbox.Options{}, delivery.SenderOptions{})
		queue, told := deliverytest.NewQueue(t), make(chan adapter.Result, len(events))
		dispatcher := delivery.NewDispatcher(mapper, sender, delivery.NewBreaker(delivery.BreakerOptions{}), queue,
			delivery.DispatcherOptions{Record: func(r adapter.Result) { told <- r }})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- dispatcher.Run(ctx) }()
		if _, err := delivery.NewDurable(mapper, queue, delivery.DurableOptions{}).Accept(ctx, events); err != nil {
			t.Fatal(err)
		}
		var results []adapter.Result
		for range events {
			results = append(results, <-told)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		check(t, server, results)
		if slices.IndexFunc(results,
			func(r adapter.Result) bool { return r.MessageID == "message-1" }) > slices.IndexFunc(results,
			func(r adapter.Result) bool { return r.MessageID == "message-2" }) {
			t.Error("the event came before its identify")
		}
	})
}
