package mapping_test

import (
	"testing"
	"time"

	"github.com/segmentio/analytics-go/v3"

	"segment-saasquatch/mapping"
)

func TestFromTrack(t *testing.T) {
	track := analytics.Track{
		MessageId:  "c86b5e74-a17d-4821-bb68-c408589d52f3",
		UserId:     "u-1",
		Event:      "Order Completed",
		Timestamp:  goldenNow.Add(-time.Hour).In(time.FixedZone("", 2*3600)),
		Properties: analytics.NewProperties().SetRevenue(19.9).SetCurrency("usd").Set("order_id", "<1>"),
	}
	event, err := mapping.FromTrack(track)
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	result := mapper.Map(event, goldenNow)
	want := `{"userId":"u-1","accountId":"u-1","idempotencyKey":"c86b5e74-a17d-4821-bb68-c408589d52f3",` +
		`"events":[{"key":"purchase","fields":{"currency":"USD","order_id":"<1>","revenue":19.9},` +
		`"dateTriggered":1793487600000}]}`
	if got := string(result.UserEvent.Body); got != want {
		t.Errorf("body:\n got %s\nwant %s\nof %s", got, want, event)
	}
}

func TestFromTrackWithoutTimestamp(t *testing.T) {
	event, err := mapping.FromTrack(analytics.Track{UserId: "u-1", Event: "Signed Up"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(event), `{"type":"track","userId":"u-1","event":"Signed Up"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFromTrackRefusesWhatJSONCannotExpress(t *testing.T) {
	_, err := mapping.FromTrack(analytics.Track{Event: "x", Properties: analytics.Properties{"c": make(chan int)}})
	if err == nil {
		t.Error("no error for a channel")
	}
}
