package saasquatch

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// instant is a transport that reads the request and answers at once.
type instant struct {
	status int
	answer []byte
}

func (t instant) RoundTrip(request *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, request.Body)
	return &http.Response{StatusCode: t.status, Body: io.NopCloser(bytes.NewReader(t.answer))}, nil
}

// BenchmarkBulk makes a call for 100 items without a network, and shows the time for each item.
func BenchmarkBulk(b *testing.B) {
	fields := strings.Repeat(`"a_property":"with a value of this length",`, 20)
	var events []*mapping.UserEvent
	var upserts []*mapping.UserUpsert
	var taken, users, conflicts []string
	for i := range adapter.MaxBulk {
		id := fmt.Sprintf("user-%08d@example.com", i)
		key := fmt.Sprintf("key-%08d", i)
		events = append(events, &mapping.UserEvent{UserID: id, AccountID: id, Key: "purchase", IdempotencyKey: key,
			Body: fmt.Appendf(nil, `{"userId":%q,"accountId":%q,"events":[{"key":"purchase","fields":{%s"n":%d}}],`+
				`"idempotencyKey":%q}`, id, id, fields, i, key)})
		upserts = append(upserts, &mapping.UserUpsert{UserID: id, AccountID: id, Body: fmt.Appendf(nil,
			`{"id":%q,"accountId":%q,"email":%q,"locale":"en_US","customFields":{%s"n":%d}}`, id, id, id, fields, i)})
		taken = append(taken, fmt.Sprintf(`{"__typename":"UserEventResult","userId":%q,"accountId":%q,`+
			`"events":[{"id":"5f5a6f3b1d41c80f3c2e%08d"}]}`, id, id, i))
		users = append(users, fmt.Sprintf(`{"__typename":"User","id":%q,"accountId":%q}`, id, id))
		conflicts = append(conflicts, fmt.Sprintf(`{"__typename":"ApiError","message":"The key key-%08d was used.",`+
			`"statusCode":409,"rsCode":null}`, i))
	}
	client, err := New(Options{TenantAlias: "test_tenant", UserAgent: "test"})
	if err != nil {
		b.Fatal(err)
	}
	list := func(name string, elements []string) []byte {
		return []byte(`{"data":{"` + name + `":[` + strings.Join(elements, ",") + `]}}`)
	}
	run := func(name string, answer []byte, want adapter.Outcome, call func() adapter.BulkAttempt) {
		b.Run(name, func(b *testing.B) {
			client.transport = instant{http.StatusOK, answer}
			b.ReportAllocs()
			for b.Loop() {
				if got := call(); got.Items[adapter.MaxBulk-1].Outcome != want {
					b.Fatalf("%+v", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/adapter.MaxBulk, "ns/item")
		})
	}
	track := func() adapter.BulkAttempt { return client.TrackBulk(b.Context(), events) }
	run("delivered", list("logUserEvents", taken), adapter.Delivered, track)
	run("one error", list("logUserEvents", append(conflicts[:1:1], taken[1:]...)), adapter.Delivered, track)
	run("duplicates", list("logUserEvents", conflicts), adapter.Duplicate, track)
	run("upserts", list("upsertUsers", users), adapter.Delivered, func() adapter.BulkAttempt {
		return client.UpsertBulk(b.Context(), upserts)
	})
	b.Run("bulkable", func(b *testing.B) {
		for b.Loop() {
			if !(*Client)(nil).BulkableUpsert(upserts[0]) {
				b.Fatal("not bulkable")
			}
		}
	})
}
