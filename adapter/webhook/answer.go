package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// answer is the JSON that Segment shows in its Event Delivery. It is at most maxAnswer bytes long.
type answer struct {
	Message string         `json:"message"`
	Counts  *counts        `json:"counts,omitempty"`
	Results []resultAnswer `json:"results,omitempty"`
}

// counts are numbers of events, in the order of outcomes.
type counts struct {
	Delivered int `json:"delivered"`
	Duplicate int `json:"duplicate"`
	Skipped   int `json:"skipped"`
	Rejected  int `json:"rejected"`
	Dead      int `json:"dead"`
	Pending   int `json:"pending"`
}

type resultAnswer struct {
	Index     int               `json:"index"`
	MessageID string            `json:"message_id,omitempty"`
	Outcome   string            `json:"outcome"`
	Reason    string            `json:"reason,omitempty"`
	Detail    string            `json:"detail,omitempty"`
	EventKey  string            `json:"event_key,omitempty"`
	Warnings  []mapping.Warning `json:"warnings,omitempty"`
}

const (
	// maxResults is how many results an answer holds.
	maxResults = 20
	// maxText bounds each text of the request in an answer, in bytes of JSON.
	maxText = 200
	// maxAnswer bounds an answer, in bytes. A comment in Segment's open-source destination code says that answers
	// above 16 KB can crash its worker.
	maxAnswer = 15 << 10
)

// answerOf describes a receipt: counts of all events, and the first results. Results that need attention come first.
// Both groups are in the order of the request. If long texts and many warnings make the answer longer than maxAnswer,
// answerJSON leaves out the last results.
func answerOf(receipt adapter.Receipt) answer {
	n := receipt.Counts()
	a := answer{Counts: &counts{
		Delivered: n[adapter.Delivered], Duplicate: n[adapter.Duplicate], Skipped: n[adapter.Skipped],
		Rejected: n[adapter.Rejected], Dead: n[adapter.Dead], Pending: n[adapter.Pending],
	}}
	a.Message = summary(len(receipt.Results), n, receipt.Redeliver)
	for _, attention := range []bool{true, false} {
		for i := range receipt.Results {
			if len(a.Results) == maxResults {
				return a
			}
			if r := &receipt.Results[i]; needsAttention(r.Outcome, receipt.Redeliver) == attention {
				a.Results = append(a.Results, resultAnswer{
					Index:     r.Index,
					MessageID: bounded(r.MessageID),
					Outcome:   r.Outcome.String(),
					Reason:    string(r.Reason),
					Detail:    bounded(r.Detail),
					EventKey:  bounded(r.EventKey),
					Warnings:  r.Warnings,
				})
			}
		}
	}
	return a
}

// needsAttention reports whether an operator should look at a result. A pending event needs none where a store keeps
// it and the sender need not send it again.
func needsAttention(o adapter.Outcome, redeliver bool) bool {
	return o == adapter.Dead || o == adapter.Rejected || o == adapter.Pending && redeliver
}

func summary(events int, n adapter.Counts, redeliver bool) string {
	if events == 0 {
		return "no events"
	}
	var parts []string
	for _, outcome := range adapter.Outcomes {
		switch count := n[outcome]; {
		case count == 0:
		case events == 1:
			parts = append(parts, outcome.String())
		default:
			parts = append(parts, fmt.Sprintf("%d %s", count, outcome))
		}
	}
	text := strings.Join(parts, ", ")
	if events > 1 {
		text = fmt.Sprintf("%d events: %s", events, text)
	}
	if redeliver {
		text += "; send this request again"
	}
	return text
}

// bounded cuts text so that its JSON, without the quotes and the ellipsis, has at most maxText bytes.
func bounded(text string) string {
	length := 0
	for i, r := range text {
		if length += jsonLen(r); length > maxText {
			return text[:i] + "…"
		}
	}
	return text
}

// jsonLen returns an upper bound of the bytes that encoding/json writes for r.
func jsonLen(r rune) int {
	switch {
	case r < ' ', r == '"', r == '\\', r == '\u2028', r == '\u2029', r == utf8.RuneError:
		return len(`\u0000`)
	default:
		return utf8.RuneLen(r)
	}
}

func answerMessage(c *gin.Context, status int, message string) {
	answerJSON(c, status, answer{Message: message})
}

const contentType = "application/json; charset=utf-8"

// answerJSON writes the answer and aborts later handlers.
func answerJSON(c *gin.Context, status int, a answer) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	for {
		if err := encoder.Encode(a); err != nil { // cannot happen: it has only texts and numbers
			status = http.StatusInternalServerError
		}
		if text.Len() <= maxAnswer || len(a.Results) == 0 {
			break
		}
		a.Results = a.Results[:len(a.Results)-1]
		text.Reset()
	}
	c.Abort()
	c.Header("Content-Length", strconv.Itoa(text.Len()))
	if c.Request.Method == http.MethodHead {
		c.Header("Content-Type", contentType)
		c.AbortWithStatus(status)
		return
	}
	c.Data(status, contentType, text.Bytes())
}
