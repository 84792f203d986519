package saasquatch_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/mapping"
)

// One call delivers two events. SaaSquatch holds the second one already.
func ExampleClient_TrackBulk() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":{"logUserEvents":[
			{"__typename":"UserEventResult","userId":"ann","accountId":"ann","events":[{"id":"1"}]},
			{"__typename":"ApiError","message":"The key was used.","statusCode":409}]}}`)
	}))
	defer server.Close()
	client, err := saasquatch.New(saasquatch.Options{
		BaseURL: server.URL, TenantAlias: "test_tenant", APIKey: adapter.NewSecret("TEST_key"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var events []*mapping.UserEvent
	for _, user := range []string{"ann", "bob"} {
		key := "message-of-" + user
		events = append(events, &mapping.UserEvent{UserID: user, AccountID: user, Key: "signup", IdempotencyKey: key,
			Body: fmt.Appendf(nil, `{"userId":%q,"accountId":%q,"events":[{"key":"signup"}],"idempotencyKey":%q}`,
				user, user, key)})
	}
	for i, item := range client.TrackBulk(context.Background(), events).Items {
		fmt.Println(events[i].UserID, item.Outcome, item.Status)
	}
	// Output:
	// ann delivered 200
	// bob duplicate 409
}
