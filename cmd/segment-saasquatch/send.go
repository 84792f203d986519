package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// sending is what send was asked to do.
type sending struct {
	to, secret, bearer, event, user string
	batch, times                    int
	firstElement                    bool
}

func (p *program) sendCommand() *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Post signed sample events to a webhook, as Segment does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.to == "" {
				return fmt.Errorf("--to is missing: the URL of the webhook, such as http://127.0.0.1:8080/segment")
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
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.to, "to", "", "`URL` of the webhook")
	flags.StringVar(&s.secret, "secret", "", "shared `secret` to sign with (default: no signature)")
	flags.StringVar(&s.bearer, "bearer-token", "", "`token` to send as Authorization: Bearer")
	flags.StringVar(&s.event, "event", "Order Completed", "`name` of the events")
	flags.StringVar(&s.user, "user", "", "userId of the events (default: sample-user-1, and so on in a batch)")
	flags.IntVar(&s.batch, "batch", 0, "send an array of this many events (default: one event, not in an array)")
	flags.IntVar(&s.times, "times", 1, "send the same request this often")
	flags.BoolVar(&s.firstElement, "sign-first-element", false, "sign the first event of a batch only, as Segment does today, instead of the whole batch")
	return cmd
}

// build returns the request's body and the part of it that is signed.
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

// post sends the request and prints the answer. An answer that is not 2xx is an error.
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
