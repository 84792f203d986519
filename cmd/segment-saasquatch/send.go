package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/analytics-go/v3"
	"github.com/spf13/cobra"

	"segment-saasquatch/mapping"
)

// sending has the flags of send.
type sending struct {
	to, secret, bearer, event, user string
	batch, times                    int
	firstElement                    bool
}

func (p *program) sendCommand() *cobra.Command {
	var s sending
	cmd := command("send", "Post signed sample events to a webhook, as Segment does", "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if s.to == "" {
			return fmt.Errorf("--to is missing: give the URL of the webhook, such as http://127.0.0.1:8080/segment")
		}
		if s.batch < 0 || s.times < 1 {
			return fmt.Errorf("--batch must be at least 0 and --times at least 1")
		}
		body, signed, err := s.build()
		if err != nil {
			return err
		}
		for range s.times {
			if err := p.post(cmd.Context(), &s, body, signed); err != nil {
				return failed(err)
			}
		}
		return nil
	}
	flags := cmd.Flags()
	flags.StringVar(&s.to, "to", "", "post to the webhook with this `URL`; required")
	flags.StringVar(&s.secret, "secret", "", "sign with this shared `secret` (default: no signature)")
	flags.StringVar(&s.bearer, "bearer-token", "", "send this `token` as Authorization: Bearer (default: none)")
	flags.StringVar(&s.event, "event", "Order Completed", "give the events this `name`")
	flags.StringVar(&s.user, "user", "", "give the events this `userId` (default: sample-user-1 and so on)")
	flags.IntVar(&s.batch, "batch", 0, "send an array of this `number` of events; 0 is one event without array")
	flags.IntVar(&s.times, "times", 1, "send the same request this `number` of times")
	flags.BoolVar(&s.firstElement, "sign-first-element", false,
		"sign only the first event of a batch, as Segment does today, and not the whole batch")
	return cmd
}

// build returns the body of the request, and the part to sign.
func (s *sending) build() (body, signed []byte, err error) {
	now := time.Now()
	events := make([][]byte, max(1, s.batch))
	for i := range events {
		user := s.user
		if user == "" {
			user = fmt.Sprintf("sample-user-%d", i+1)
		}
		if events[i], err = sampleEvent(s.event, user, now); err != nil {
			return nil, nil, err
		}
	}
	body = events[0]
	if s.batch > 0 {
		body = append(append([]byte("["), bytes.Join(events, []byte(","))...), ']')
	}
	if s.firstElement {
		return body, events[0], nil
	}
	return body, body, nil
}

// sendTimeout is how long Segment's newer webhooks wait for an answer.
const sendTimeout = 10 * time.Second

// post sends the request and prints the answer. A status that is not 2xx is an error.
func (p *program) post(ctx context.Context, s *sending, body, signed []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if s.secret != "" {
		request.Header.Set("X-Signature", sign(s.secret, signed))
	}
	if s.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+s.bearer)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if _, err := fmt.Fprintf(p.stdout, "%d %s\n", response.StatusCode, strings.TrimSpace(string(answer))); err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("the webhook answered %s", response.Status)
	}
	return nil
}

// sampleEvent returns a track call as Segment sends it.
func sampleEvent(name, userID string, now time.Time) ([]byte, error) {
	properties := analytics.NewProperties().Set("plan", "pro").Set("source", "sample")
	if name == "Order Completed" || name == "Order Refunded" {
		properties = analytics.NewProperties().
			Set("order_id", "sample-"+uuid.NewString()[:8]).
			SetTotal(27.5).
			SetRevenue(22.5).
			SetCurrency("USD").
			Set("products", []map[string]any{
				{"product_id": "507f1f77bcf86cd799439011", "name": "Monopoly", "price": 22.5, "quantity": 1},
			})
	}
	return mapping.FromTrack(analytics.Track{
		MessageId:  uuid.NewString(),
		UserId:     userID,
		Event:      name,
		Timestamp:  now.UTC().Truncate(time.Millisecond),
		Properties: properties,
	})
}

// sign returns Segment's X-Signature: the HMAC-SHA1 of the body in lower-case hexadecimal digits.
func sign(secret string, body []byte) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
