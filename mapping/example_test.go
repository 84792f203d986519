package mapping_test

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"segment-saasquatch/mapping"
)

// A track call becomes the body of SaaSquatch's Track User Event call.
func ExampleMapper_Map() {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		fmt.Println(err)
		return
	}
	event := []byte(`{"type":"track","userId":"u-1","event":"Plan Upgraded","messageId":"message-1",` +
		`"timestamp":"2026-10-31T12:00:00Z","properties":{"plan type":"pro","seats":5}}`)

	result := mapper.Map(event, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	body := jsontext.Value(result.UserEvent.Body)
	if err := body.Indent(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(body)
	// Output:
	// {
	// 	"userId": "u-1",
	// 	"accountId": "u-1",
	// 	"idempotencyKey": "message-1",
	// 	"events": [
	// 		{
	// 			"key": "planUpgraded",
	// 			"fields": {
	// 				"plantype": "pro",
	// 				"seats": 5
	// 			},
	// 			"dateTriggered": 1793448000000
	// 		}
	// 	]
	// }
}

// Each event has exactly one outcome.
func ExampleMapper_Map_outcomes() {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, event := range []string{
		`{"type":"track","userId":"u-1","event":"Signed Up","messageId":"message-1"}`,
		`{"type":"identify","userId":"u-1","traits":{"email":"jo@shop.example","plan":"pro"}}`,
		`{"type":"page","userId":"u-1"}`,
		`{"type":"track","userId":"u-1","event":"購入"}`,
	} {
		result := mapper.Map([]byte(event), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
		switch result.Kind {
		case mapping.KindUserEvent:
			fmt.Println("event", result.UserEvent.Key, result.Warnings)
		case mapping.KindUserUpsert:
			fmt.Printf("upsert %s\n", result.Upserts[0].Body)
		case mapping.KindSkip:
			fmt.Println("skip", result.Reason)
		case mapping.KindReject:
			fmt.Println("reject", result.Reason)
		}
	}
	// Output:
	// event signedUp [no_timestamp]
	// upsert {"id":"u-1","accountId":"u-1","email":"jo@shop.example","customFields":{"plan":"pro"}}
	// skip unsupported_type
	// reject empty_event_key
}

// Rules rename an event and change its fields by an expression.
func ExampleNew() {
	rules := mapping.DefaultRules()
	rules.Keys = map[string]string{"Plan Upgraded": "upgrade"}
	rules.Transform = `$merge([$, {"fields": $merge([fields, {"source": "segment"}])}])`
	mapper, err := mapping.New(rules)
	if err != nil {
		fmt.Println(err)
		return
	}
	event := []byte(`{"type":"track","userId":"u-1","event":"Plan Upgraded","properties":{"plan":"pro"}}`)
	result := mapper.Map(event, time.Now())
	fmt.Printf("%s\n", result.UserEvent.Body)
	// Output:
	// {"userId":"u-1","accountId":"u-1","events":[{"key":"upgrade","fields":{"plan":"pro","source":"segment"}}]}
}
