package delivery_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// The whole way of an event: it is accepted into a store, and a Dispatcher delivers it to a
// simulated SaaSquatch.
func ExampleNewDispatcher() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	simulated, err := sandbox.New(sandbox.Options{Users: sandbox.AnyUser})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(simulated)
	defer server.Close()
	client, err := saasquatch.New(saasquatch.Options{
		BaseURL: server.URL, TenantAlias: "test_tenant", APIKey: adapter.NewSecret("TEST_key"), UserAgent: "example",
	})
	if err != nil {
		log.Fatal(err)
	}
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		log.Fatal(err)
	}

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	deliveries, err := store.Open(ctx, store.Options{Path: filepath.Join(dir, "deliveries.db")})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = deliveries.Close() }()
	queue, err := deliveries.Connection(ctx, "default", adapter.TenantName(server.URL, "test_tenant"))
	if err != nil {
		log.Fatal(err)
	}

	// The event is on disk when Accept returns: Segment may forget it.
	durable := delivery.NewDurable(mapper, queue, delivery.DurableOptions{})
	receipt, err := durable.Accept(ctx, [][]byte{[]byte(
		`{"type":"track","event":"Order Completed","userId":"u-1","messageId":"message-1",` +
			`"properties":{"total":12.5}}`)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.Results[0].Outcome, receipt.Results[0].Reason)

	breaker := delivery.NewBreaker(delivery.BreakerOptions{})
	sender := delivery.NewSender(client, delivery.SenderOptions{})
	dispatcher := delivery.NewDispatcher(mapper, sender, breaker, queue, delivery.DispatcherOptions{
		Record: func(result adapter.Result) {
			fmt.Println(result.EventKey, result.Outcome)
			cancel()
		},
	})
	if err := dispatcher.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// pending accepted
	// purchase delivered
}
