package sandbox

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// orderRule is what SaaSquatch's published schemas demand of a member of a
// purchase, a refund or a product.
type orderRule uint8

const (
	orderText     orderRule = iota + 1 // string of at most maxOrderChars
	orderAmount                        // number, not negative
	orderCurrency                      // three capital letters
	orderProducts                      // at most maxProducts products
	orderQuantity                      // integer, not negative
	orderPosition                      // integer
)

const (
	maxOrderChars = 375 // in code points
	maxProducts   = 200
)

// orderSchemas are the closed schemas of the fields of the two reserved events,
// by event key, from SaaSquatch's published PurchaseEventFields and
// RefundEventFields. No field is required. That SaaSquatch answers 400 to other
// fields is assumed: its documentation only calls such purchases invalid.
var orderSchemas = map[string]map[string]orderRule{
	"purchase": {
		"checkout_id": orderText,
		"order_id":    orderText,
		"affiliation": orderText,
		"subtotal":    orderAmount,
		"total":       orderAmount,
		"revenue":     orderAmount,
		"shipping":    orderAmount,
		"tax":         orderAmount,
		"discount":    orderAmount,
		"coupon":      orderText,
		"currency":    orderCurrency,
		"products":    orderProducts,
	},
	"refund": {
		"order_id":    orderText,
		"affiliation": orderText,
		"total":       orderAmount,
		"revenue":     orderAmount,
		"shipping":    orderAmount,
		"tax":         orderAmount,
		"currency":    orderCurrency,
		"products":    orderProducts,
	},
}

// productSchema is closed as well; product_id is required.
var productSchema = map[string]orderRule{
	"product_id": orderText,
	"sku":        orderText,
	"category":   orderText,
	"name":       orderText,
	"brand":      orderText,
	"variant":    orderText,
	"price":      orderAmount,
	"quantity":   orderQuantity,
	"coupon":     orderText,
	"position":   orderPosition,
	"url":        orderText,
	"image_url":  orderText,
}

// checkOrder judges the fields of an event by the schema of its key. The fields
// are known to be a valid object; where points to them.
func checkOrder(r *reader, schema map[string]orderRule, event *parsedEvent, where string) *apiError {
	r.reset(event.fields, where)
	return checkOrderObject(r, schema, event.key, "")
}

func checkOrderObject(r *reader, schema map[string]orderRule, what, required string) *apiError {
	if fault := r.begin('{', "an object"); fault != nil {
		return fault
	}
	complete := required == ""
	for {
		more, fault := r.more('}')
		if fault != nil {
			return fault
		}
		if !more {
			break
		}
		name, fault := r.name()
		if fault != nil {
			return fault
		}
		rule, known := schema[string(name)]
		if !known {
			return r.fault("is no field of a %s", what)
		}
		complete = complete || string(name) == required
		if fault := checkOrderValue(r, rule); fault != nil {
			return fault
		}
	}
	if !complete {
		return r.fault("must have a %s", required)
	}
	return nil
}

func checkOrderValue(r *reader, rule orderRule) *apiError {
	switch rule {
	case orderText:
		text, fault := r.string("a string")
		if fault == nil && len(text) > maxOrderChars && utf8.RuneCount(text) > maxOrderChars {
			fault = r.fault("must have at most %d characters", maxOrderChars)
		}
		return fault
	case orderCurrency:
		text, fault := r.string("a string")
		if fault == nil && !isCurrency(text) {
			fault = r.fault("must be three capital letters")
		}
		return fault
	case orderAmount:
		return checkNumber(r, false, true)
	case orderQuantity:
		return checkNumber(r, true, true)
	case orderPosition:
		return checkNumber(r, true, false)
	default: // orderProducts
		return checkProducts(r)
	}
}

func checkNumber(r *reader, whole, notNegative bool) *apiError {
	want := "a number"
	if whole {
		want = "an integer"
	}
	if r.decoder.PeekKind() != jsontext.KindNumber {
		return r.wrong(want)
	}
	number, err := r.decoder.ReadValue()
	if err != nil {
		return r.syntaxFault(err)
	}
	if _, ok := parseInteger(number); whole && !ok {
		return r.fault("must be %s", want)
	}
	if notNegative && isNegative(number) {
		return r.fault("must not be negative")
	}
	return nil
}

// isNegative reports whether a valid JSON number is below zero; -0.0 is not.
func isNegative(number []byte) bool {
	if number[0] != '-' {
		return false
	}
	mantissa, _, _ := bytes.Cut(bytes.ToLower(number), []byte("e"))
	return bytes.ContainsAny(mantissa, "123456789")
}

func checkProducts(r *reader) *apiError {
	if fault := r.begin('[', "an array"); fault != nil {
		return fault
	}
	for count := 0; ; count++ {
		more, fault := r.more(']')
		if fault != nil {
			return fault
		}
		if !more {
			if count > maxProducts {
				return r.fault("must have at most %d elements", maxProducts)
			}
			return nil
		}
		if fault := checkOrderObject(r, productSchema, "product", "product_id"); fault != nil {
			return fault
		}
	}
}

func isCurrency(text []byte) bool {
	if len(text) != 3 {
		return false
	}
	for _, c := range text {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
