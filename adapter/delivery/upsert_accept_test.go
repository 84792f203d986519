package delivery

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// upsertMapper makes an upsert for each of the event's words but the first two, which
// are user and messageId; with a third word "track" it makes an event of it.
type upsertMapper struct{}

func (upsertMapper) MapWith(event []byte, _ time.Time, _ mapping.Options) mapping.Result {
	words := strings.Fields(string(event))
	if words[2] == "track" {
		return mapping.Result{Kind: mapping.KindUserEvent, MessageID: words[1], Ensure: mapping.EnsureNever,
			UserEvent: mapping.UserEvent{UserID: words[0], AccountID: words[0], Key: "x", Body: event}}
	}
	mapped := mapping.Result{Kind: mapping.KindUserUpsert, MessageID: words[1],
		Warnings: []mapping.Warning{mapping.WarningStringTruncated}}
	for _, word := range words[2:] {
		mapped.Upserts = append(mapped.Upserts, mapping.UserUpsert{UserID: words[0], AccountID: words[0],
			Body: []byte(word)})
	}
	return mapped
}

// TestDirectUpserts has a request of an identify and a track of one user, with the
// identify failing at first.
func TestDirectUpserts(t *testing.T) {
	refuse := adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400,
		RefusedFields: []string{"locale"}}
	synctest.Test(t, func(t *testing.T) {
		script := deliverytest.Script(0, attempts{delivered}, attempts{busy, refuse, delivered})
		var mu sync.Mutex
		var told []adapter.Result
		d := NewDirect(upsertMapper{}, NewRetrier(NewSender(script, SenderOptions{}), NewBreaker(BreakerOptions{}),
			RetrierOptions{}), DirectOptions{Record: func(r adapter.Result) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, r)
		}})
		events := [][]byte{[]byte(`u message-1 {"locale":1} {"n":1}`), []byte("u message-2 track")}
		receipt := accept(t, d, events...)
		if made := strings.Join(script.Kinds(), " "); made != "upsert upsert upsert upsert track" {
			t.Errorf("made %s", made)
		}
		first := receipt.Results[0]
		if first.Outcome != adapter.Delivered || first.EventKey != adapter.UpsertEventKey || first.Attempts != 2 ||
			!slices.Equal(first.Warnings, []mapping.Warning{adapter.WarningFieldRefused,
				mapping.WarningStringTruncated}) {
			t.Errorf("got %+v", first)
		}
		if len(told) != 2 || receipt.Redeliver {
			t.Errorf("told %+v", told)
		}
		// Segment sends the request again.
		receipt = accept(t, d, events...)
		if script.Requests() != 5 || receipt.Results[0].Reason != mapping.ReasonRecentlyDelivered ||
			receipt.Results[1].Reason != mapping.ReasonRecentlyDelivered {
			t.Errorf("the redelivery made %v: %+v", script.Kinds()[5:], receipt.Results)
		}
		// Another identify with the same messageId is another.
		accept(t, d, []byte(`u message-1 {"n":2}`))
		if script.Requests() != 6 {
			t.Error("other upserts with the same messageId were taken for sent")
		}
	})
}

// TestDirectKeepsOrder has an identify stay pending beyond the answer.
func TestDirectKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := deliverytest.Script(0, attempts{delivered}, attempts{busy})
		d := NewDirect(upsertMapper{}, NewRetrier(NewSender(script, SenderOptions{}), NewBreaker(BreakerOptions{}),
			RetrierOptions{}), DirectOptions{})
		receipt := accept(t, d, []byte(`u message-1 {}`), []byte("u message-2 track"), []byte("v message-3 track"))
		made := script.Kinds()
		if slices.Index(made, "track") != slices.Index(made, "upsert")+1 && made[0] != "track" ||
			strings.Count(strings.Join(made, " "), "track") != 1 {
			t.Errorf("made %v", made)
		}
		if r := receipt.Results; r[0].Outcome != adapter.Pending || r[1].Outcome != adapter.Pending ||
			r[2].Outcome != adapter.Delivered || !receipt.Redeliver {
			t.Errorf("got %+v", r)
		}
	})
}

// TestArrivalsOfUpserts checks what tells an identify from others in the store.
func TestArrivalsOfUpserts(t *testing.T) {
	arrival := func(event string) adapter.Arrival {
		mapped := upsertMapper{}.MapWith([]byte(event), time.Time{}, mapping.Options{})
		return ArrivalOf([]byte(event), &mapped)
	}
	got := arrival(`u message-1 {} {}`)
	if got.UserID != "u" || got.AccountID != "u" || got.EventKey != adapter.UpsertEventKey || !got.Keyed ||
		got.Fingerprint != 0 || got.Outcome != adapter.Pending || !bytes.Equal(got.Payload,
		[]byte(`u message-1 {} {}`)) {
		t.Errorf("got %+v", got)
	}
	prints := make(map[int64]string)
	for _, event := range []string{`u m {}`, `u m {} {}`, `u m {}{}`, `u m {"a":1}`, `v m {}`} {
		got := arrival(event)
		if got.Keyed || got.Fingerprint == 0 {
			t.Errorf("%s: %+v", event, got)
		}
		if other := prints[got.Fingerprint]; other != "" {
			t.Errorf("%s has the fingerprint of %s", event, other)
		}
		prints[got.Fingerprint] = event
	}
	// It is stored, so it must not change.
	if got := arrival(`u m {} {}`).Fingerprint; got != 3117193142124320981 {
		t.Errorf("the fingerprint is %d", got)
	}
}
