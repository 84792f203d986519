package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// slowSums takes milliseconds for each event, and skips the cart number 0.
const slowSums = `events:
  transform: 'fields.cart_id = 0 ? null : $merge([$, {"fields": $merge([fields, {
    "items": $sum(fields.products.quantity),
    "total": $round($sum(fields.products.(price * quantity)), 2),
    "skus": $join($distinct(fields.products.sku), ","),
    "expensive": $count(fields.products[price > 50]),
    "squares": $sum([1..400].($ * $))}])}])'
`

// TestSlowExpressionsDelayNoAnswer sends the largest batch of Segment to a connection with a slow expression. The
// answer comes within Segment's 5 s, and says pending even of an event that the expression skips. The log and the
// store say later that it is skipped.
func TestSlowExpressionsDelayNoAnswer(t *testing.T) {
	t.Parallel()
	const events = 4000
	var products, batch bytes.Buffer
	for i := range 10 {
		fmt.Fprintf(&products, `,{"product_id":"p%d","sku":"S-%[1]d","name":"Product %[1]d","price":%d.5,`+
			`"quantity":%d}`, i, 10+7*i, 1+i%3)
	}
	for i := range events {
		fmt.Fprintf(&batch, `,{"type":"track","userId":"user-%d","event":"Cart Viewed","messageId":"message-%08[1]d",`+
			`"properties":{"cart_id":%[1]d,"products":[%s]}}`, i, products.Bytes()[1:])
	}
	body := append(append([]byte("["), batch.Bytes()[1:]...), ']')
	env := []string{"DELIVERY=durable", "DATA_DIR=" + t.TempDir()}
	s := startServer(t, startSandbox(t), env, "--config", configFile(t, slowSums))
	began := time.Now()
	got := post(t, s.url, testSecret, body, body)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the answer took %v", took)
	}
	if got.Status != http.StatusOK || got.Counts["pending"] != events {
		t.Fatalf("got %+v", got)
	}
	for _, result := range got.Results {
		if result.Outcome != "pending" || result.Reason != "accepted" {
			t.Errorf("got %+v", result)
		}
	}
	s.stderr.await(t, `"outcome":"skipped","reason":"event_not_selected","message_id":"message-00000000"`)
	if _, list, _ := deliveries(t, env, "list", "--outcome", "skipped", "--json"); strings.Count(list, "\n") != 1 ||
		!strings.Contains(list, `"message_id":"message-00000000"`) {
		t.Errorf("the store has %s", list)
	}
}
