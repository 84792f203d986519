package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

// newUserClient is a SaaSquatch that knows a user only after an upsert.
type newUserClient struct {
	delivery.Client
	known bool
}

func (c *newUserClient) Track(context.Context, *mapping.UserEvent) adapter.Attempt {
	if !c.known {
		return adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonUserNotFound, Status: 404}
	}
	return adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
}

func (c *newUserClient) Upsert(context.Context, *mapping.UserUpsert) adapter.Attempt {
	c.known = true
	return adapter.Attempt{Outcome: adapter.Delivered, Status: 201}
}

// TestEveryRequestIsObserved checks that the metrics count each request of an attempt with several requests.
func TestEveryRequestIsObserved(t *testing.T) {
	var statuses []int
	observed := &observedClient{&newUserClient{}, func(a adapter.Attempt,
		_ time.Duration) {
		statuses = append(statuses, a.Status)
	}}
	mapped := &mapping.Result{Kind: mapping.KindUserEvent, Ensure: mapping.EnsureMissing,
		UserEvent: mapping.UserEvent{UserID: "u", AccountID: "u"}}
	got := delivery.NewSender(observed, delivery.SenderOptions{}).Send(t.Context(), mapped)
	if got.Outcome != adapter.Delivered || got.Requests != 3 || !slices.Equal(statuses, []int{404, 201, 200}) {
		t.Errorf("%+v, observed %v", got, statuses)
	}
}
