package main

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/analytics-go/v3"

	"segment-saasquatch/mapping"
)

// sampleEvent returns a track call as Segment sends it.
func sampleEvent(name, userID string, now time.Time) ([]byte, error) {
	properties := analytics.NewProperties().Set("plan", "pro").Set("source", "sample")
	if name == "Order Completed" || name == "Order Refunded" {
		properties = analytics.NewProperties().
			Set("order_id", "sample-"+uuid.NewString()[:8]).
			SetTotal(27.5).
			SetRevenue(22.5).
			SetCurrency("USD").
			Set("products", []map[string]any{{"product_id": "507f1f77bcf86cd799439011", "name": "Monopoly", "price": 22.5, "quantity": 1}})
	}
	return mapping.FromTrack(analytics.Track{
		MessageId:  uuid.NewString(),
		UserId:     userID,
		Event:      name,
		Timestamp:  now.UTC().Truncate(time.Millisecond),
		Properties: properties,
	})
}

// sign returns the X-Signature that Segment computes: the HMAC-SHA1 of the body
// in lower-case hexadecimal digits.
func sign(secret string, body []byte) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
