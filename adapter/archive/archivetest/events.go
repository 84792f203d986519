package archivetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// tooOld is the age of events that are too old: more than the 180 days for which SaaSquatch
// remembers a key.
const tooOld = 200 * 24 * time.Hour

// events makes events.
type events struct {
	random *rand.Rand
	now    time.Time
	count  int
}

var kinds = []struct{ kind, event string }{
	{"track", "Order Completed"}, {"track", "Order Completed"}, {"track", "Product Viewed"},
	{"track", "Product Viewed"},
	{"track", "Signed Up"}, {"track", "Order Refunded"}, {"identify", ""}, {"page", ""}, {"screen", ""}, {"group", ""},
}

var integrations = []string{
	"", "", "", "{}", `{"All":true}`, `{"Amplitude":{"session_id":"1567503483594"},"CleverTap":false}`,
	`{"All":false}`, `{"SaaSquatch v2":false}`, `{"All":false,"SaaSquatch v2":true}`,
}

// event makes an event that Segment received on that day.
func (e *events) event(day time.Time) Line {
	e.count++
	kind := kinds[e.random.IntN(len(kinds))]
	span := max(min(e.now.Sub(day), 24*time.Hour), time.Millisecond)
	received := day.Add(time.Duration(e.random.Int64N(int64(span)))).Truncate(time.Millisecond)
	line := Line{Type: kind.kind, Event: kind.event, MessageID: e.messageID(received),
		Timestamp: received.Add(-time.Duration(e.random.IntN(90_000)) * time.Millisecond)}
	if e.random.IntN(15) == 0 {
		line.Timestamp = e.now.Add(-tooOld - time.Duration(e.random.IntN(1000))*time.Hour)
	}
	if e.random.IntN(6) > 0 {
		line.UserID = fmt.Sprintf("user-%05d", e.random.IntN(5000))
	}
	line.Integrations = integrations[e.random.IntN(len(integrations))]
	line.ValidKey = isKey(line.MessageID)
	line.Text = e.json(line, received)
	return line
}

// messageID makes an id in one of the forms of Segment's libraries, or in one that customers
// invent.
func (e *events) messageID(at time.Time) string {
	switch e.random.IntN(20) {
	case 0: // the old library for Node, 74 characters
		return "node-" + e.hex(32) + "-" + e.uuid()
	case 1:
		return "msg" + e.hex(3+e.random.IntN(2)) // too short; the same may come again
	case 2:
		return fmt.Sprintf("delete-reg-%d::job-2-%s", e.count, e.hex(13))
	case 3, 4, 5, 6, 7, 8, 9:
		return e.uuid()
	default:
		return fmt.Sprintf("ajs-next-%013d-%s", at.UnixMilli(), e.uuid())
	}
}

func isKey(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for _, c := range id {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

func (e *events) json(line Line, received time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"anonymousId":%q,"channel":"client","context":%s,`, e.uuid(), e.context())
	switch line.Type {
	case "track":
		fmt.Fprintf(&b, `"event":%q,"properties":%s,`, line.Event, e.properties(line.Event))
	case "identify", "group":
		fmt.Fprintf(&b, `"traits":{"email":"%s@shop.example","firstName":"Zoë","plan":"pro","seats":%d},`,
			e.hex(8), e.random.IntN(50))
		if line.Type == "group" {
			fmt.Fprintf(&b, `"groupId":"g-%d",`, e.random.IntN(100))
		}
	default:
		fmt.Fprintf(&b, `"name":%q,"properties":{"path":%q,"title":"Shop – %s"},`, e.word(), e.path(), e.word())
	}
	if line.Integrations != "" {
		fmt.Fprintf(&b, `"integrations":%s,`, line.Integrations)
	}
	if line.UserID != "" {
		fmt.Fprintf(&b, `"userId":%q,`, line.UserID)
	} else if e.random.IntN(2) == 0 {
		b.WriteString(`"userId":null,`)
	}
	const form = "2006-01-02T15:04:05.000Z"
	fmt.Fprintf(&b, `"messageId":%q,"originalTimestamp":%[2]q,"projectId":"GQ1JbqG7Bv","receivedAt":%[3]q,`+
		`"sentAt":%[3]q,"timestamp":%[2]q,"type":%[4]q,"version":2,"writeKey":"REDACT-ME"}`,
		line.MessageID, line.Timestamp.Format(form), received.Format(form), line.Type)
	return b.String()
}

func (e *events) properties(event string) string {
	switch event {
	case "Order Completed", "Order Refunded":
		var products []string
		for i := range 1 + e.random.IntN(4) {
			products = append(products, fmt.Sprintf(`{"product_id":%q,"sku":"45790-%d","name":"%s: edition %d",`+
				`"price":%d.99,"quantity":%d,"category":"Games"}`,
				e.hex(24), i, e.word(), i, 5+e.random.IntN(60), 1+e.random.IntN(3)))
		}
		return fmt.Sprintf(`{"order_id":%q,"total":%d.5,"revenue":%d.25,"shipping":3,"tax":2,"currency":"USD",`+
			`"coupon":"hasbros","products":[%s]}`,
			e.hex(24), 20+e.random.IntN(200), 10+e.random.IntN(100), strings.Join(products, ","))
	case "Product Viewed":
		return fmt.Sprintf(`{"product_id":%q,"name":"%s %s","price":%d.5,"currency":"USD",`+
			`"url":"https://shop.example%s"}`,
			e.hex(24), e.word(), e.word(), 1+e.random.IntN(40), e.path())
	default:
		return fmt.Sprintf(`{"plan":"pro","source":%q}`, e.word())
	}
}

func (e *events) uuid() string {
	h := e.hex(32)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

func (e *events) hex(n int) string {
	const digits = "0123456789abcdef"
	b := make([]byte, n)
	for i := range b {
		b[i] = digits[e.random.IntN(len(digits))]
	}
	return string(b)
}
