package mapping

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/segmentio/analytics-go/v3"
)

// FromTrack encodes a Track of analytics-go as the bytes of an event for [Mapper.Map]. It leaves out a zero
// timestamp, which analytics-go writes as the year 1. It fails on a property that JSON cannot express, such as a
// channel.
//
// There is no inverse, since analytics.Track refuses or changes events that Segment delivers. It refuses numeric user
// ids and fractional screen densities, and rounds large integers.
func FromTrack(track analytics.Track) ([]byte, error) {
	event := struct {
		Type         string                 `json:"type"`
		MessageID    string                 `json:"messageId,omitempty"`
		AnonymousID  string                 `json:"anonymousId,omitempty"`
		UserID       string                 `json:"userId,omitempty"`
		Event        string                 `json:"event"`
		Timestamp    string                 `json:"timestamp,omitempty"`
		Context      *analytics.Context     `json:"context,omitempty"`
		Properties   analytics.Properties   `json:"properties,omitempty"`
		Integrations analytics.Integrations `json:"integrations,omitempty"`
	}{
		Type:         "track",
		MessageID:    track.MessageId,
		AnonymousID:  track.AnonymousId,
		UserID:       track.UserId,
		Event:        track.Event,
		Context:      track.Context,
		Properties:   track.Properties,
		Integrations: track.Integrations,
	}
	if !track.Timestamp.IsZero() {
		event.Timestamp = track.Timestamp.Format(time.RFC3339Nano)
	}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(event); err != nil {
		return nil, fmt.Errorf("encode track: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
