package mapping_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"testing"
	"unicode/utf8"

	"segment-saasquatch/mapping"
)

// A check of one value against SaaSquatch's published schemas of purchase and refund.
type orderCheck func(t *testing.T, value []byte)

func orderText(t *testing.T, value []byte) {
	var text string
	if err := json.Unmarshal(value, &text); err != nil || utf8.RuneCountInString(text) > mapping.MaxOrderStringChars {
		t.Fatalf("not a text of up to %d characters: %s", mapping.MaxOrderStringChars, value)
	}
}

func orderMoney(t *testing.T, value []byte) {
	if number, err := strconv.ParseFloat(string(value), 64); err != nil || number < 0 {
		t.Fatalf("not a number of at least 0: %s", value)
	}
}

func orderMatch(pattern string) orderCheck {
	compiled := regexp.MustCompile(pattern)
	return func(t *testing.T, value []byte) {
		if !compiled.Match(value) {
			t.Fatalf("%s does not match %s", value, pattern)
		}
	}
}

var (
	refundSchema = map[string]orderCheck{
		"order_id": orderText, "affiliation": orderText,
		"total": orderMoney, "revenue": orderMoney, "shipping": orderMoney, "tax": orderMoney,
		"currency": orderMatch(`^"[A-Z]{3}"$`), "products": orderProducts,
	}
	purchaseSchema = func() map[string]orderCheck {
		schema := map[string]orderCheck{
			"checkout_id": orderText, "coupon": orderText, "subtotal": orderMoney, "discount": orderMoney,
		}
		for name, check := range refundSchema {
			schema[name] = check
		}
		return schema
	}()
	productSchema = map[string]orderCheck{
		"product_id": orderText, "sku": orderText, "category": orderText, "name": orderText, "brand": orderText,
		"variant": orderText, "coupon": orderText, "url": orderText, "image_url": orderText, "price": orderMoney,
		"quantity": orderMatch(`^[0-9]+$`), "position": orderMatch(`^-?[0-9]+$`),
	}
)

func orderProducts(t *testing.T, value []byte) {
	var products []map[string]json.RawMessage
	if err := json.Unmarshal(value, &products); err != nil || len(products) > mapping.MaxProducts {
		t.Fatalf("not a list of up to %d products: %s", mapping.MaxProducts, value)
	}
	for _, product := range products {
		var id string
		if err := json.Unmarshal(product["product_id"], &id); err != nil || len(bytes.TrimSpace([]byte(id))) == 0 {
			t.Fatalf("product without an id: %s", value)
		}
		checkSchema(t, product, productSchema)
	}
}

func checkSchema(t *testing.T, fields map[string]json.RawMessage, schema map[string]orderCheck) {
	t.Helper()
	for name, value := range fields {
		check := schema[name]
		if check == nil {
			t.Fatalf("field %s is not in the schema", name)
		}
		check(t, value)
	}
}

// checkOrder checks the fields of an order. The rules must conform orders and have no expressions.
func checkOrder(t *testing.T, r *mapping.Result) {
	t.Helper()
	schema := map[string]map[string]orderCheck{"purchase": purchaseSchema, "refund": refundSchema}[r.UserEvent.Key]
	if schema == nil {
		return
	}
	var body requestBody
	if err := json.Unmarshal(r.UserEvent.Body, &body); err != nil {
		t.Fatal(err)
	}
	checkSchema(t, body.Events[0].Fields, schema)
}
