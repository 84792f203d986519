package webhook_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/webhook"
)

// printing accepts events by printing them.
type printing struct{}

func (printing) Accept(_ context.Context, events [][]byte) (adapter.Receipt, error) {
	receipt := adapter.Receipt{Results: make([]adapter.Result, len(events))}
	for i, event := range events {
		fmt.Printf("%s\n", event)
		receipt.Results[i] = adapter.Result{Index: i, Outcome: adapter.Delivered}
	}
	return receipt, nil
}

// A handler for one connection whose sender shows a bearer token. The Acceptor gets each event of
// the request as raw bytes, once the token is verified.
func ExampleNew() {
	handler, err := webhook.New([]webhook.Connection{{
		Name: "default", Path: "/segment", Acceptor: printing{},
		Credentials: webhook.Credentials{BearerTokens: []adapter.Secret{
			adapter.NewSecret("a-token-of-sixteen-or-more")}},
	}}, webhook.Options{Log: zap.NewNop()})
	if err != nil {
		log.Fatal(err)
	}
	for _, token := range []string{"wrong", "a-token-of-sixteen-or-more"} {
		body := `[{"type":"track","event":"Signed Up"},{"type":"page"}]`
		request := httptest.NewRequest(http.MethodPost, "/segment", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+token)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		fmt.Println(answer.Code)
	}
	// Output:
	// 401
	// {"type":"track","event":"Signed Up"}
	// {"type":"page"}
	// 200
}
