package sandbox_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FuzzEventBody compares the sandbox's verdict with that of a second, slow implementation, which decodes the whole
// body first.
func FuzzEventBody(f *testing.F) {
	for _, b := range bodies {
		if len(b.body) < 10_000 {
			f.Add([]byte(b.body))
		}
	}
	s := newServer(f, open())
	f.Fuzz(func(t *testing.T, body []byte) {
		s.Reset()
		w := send(s, "POST", events, string(body))
		want := 400
		if acceptable(body) {
			want = 200
		}
		if w.Code != want {
			t.Fatalf("status %d, want %d: %s\nbody %q", w.Code, want, w.Body, body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("the answer is not valid JSON: %s", w.Body)
		}
		if want == 200 {
			// encoding/json would read "fieldS" as "fields".
			var sent struct {
				Events []struct {
					Fields jsontext.Value `json:"fields"`
				} `json:"events"`
			}
			if err := jsonv2.Unmarshal(body, &sent); err != nil {
				t.Fatal(err)
			}
			for i, event := range s.Events() {
				if !bytes.Equal(event.Fields, sent.Events[i].Fields) {
					t.Fatalf("fields %q were kept as %q", sent.Events[i].Fields, event.Fields)
				}
			}
		}
	})
}

func acceptable(body []byte) bool {
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if !strictJSON(body) || d.Decode(&v) != nil {
		return false
	}
	o, ok := v.(map[string]any)
	if !ok || o["userId"] != "u1" || o["accountId"] != "a1" {
		return false
	}
	if key, ok := o["idempotencyKey"]; ok {
		text, ok := key.(string)
		if !ok || !regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}\z`).MatchString(text) {
			return false
		}
	}
	all, ok := o["events"].([]any)
	if !ok || len(all) == 0 {
		return false
	}
	for _, one := range all {
		if !acceptableEvent(one) {
			return false
		}
	}
	return true
}

func acceptableEvent(v any) bool {
	o, ok := v.(map[string]any)
	if !ok {
		return false
	}
	key, ok := o["key"].(string)
	if !ok || strings.TrimSpace(key) == "" {
		return false
	}
	if date, ok := o["dateTriggered"]; ok && !isInteger(date) {
		return false
	}
	value, ok := o["fields"]
	if !ok {
		return true
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return false
	}
	for _, field := range fields {
		if !acceptableValue(field, 20, false) {
			return false
		}
	}
	const texts = "|order_id|affiliation|"
	const amounts = "|total|revenue|shipping|tax|"
	switch key {
	case "purchase":
		return acceptableOrder(fields, texts+"checkout_id|coupon|", amounts+"subtotal|discount|",
			"|products|", "|currency|")
	case "refund":
		return acceptableOrder(fields, texts, amounts, "|products|", "|currency|")
	}
	return true
}

func acceptableValue(v any, levels int, inArray bool) bool {
	switch v := v.(type) {
	case string:
		return len(v) <= 1500
	case []any:
		if inArray || levels == 0 {
			return false
		}
		for _, e := range v {
			if !acceptableValue(e, levels-1, true) {
				return false
			}
		}
	case map[string]any:
		if levels == 0 {
			return false
		}
		for _, e := range v {
			if !acceptableValue(e, levels-1, false) {
				return false
			}
		}
	}
	return true
}

func acceptableOrder(o map[string]any, texts, amounts, lists, currencies string) bool {
	for name, value := range o {
		in := func(names string) bool {
			return !strings.Contains(name, "|") && name != "" && strings.Contains(names, "|"+name+"|")
		}
		text, isText := value.(string)
		_, isNumber := value.(json.Number)
		var good bool
		switch {
		case in(texts):
			good = isText && utf8.RuneCountInString(text) <= 375
		case in(amounts):
			good = isNumber && !isBelowZero(value)
		case in(currencies):
			good = isText && regexp.MustCompile(`^[A-Z]{3}\z`).MatchString(text)
		case in(lists):
			list, isList := value.([]any)
			good = isList && len(list) <= 200
			for _, e := range list {
				product, isObject := e.(map[string]any)
				good = good && isObject && product["product_id"] != nil && acceptableProduct(product)
			}
		}
		if !good {
			return false
		}
	}
	return true
}

func acceptableProduct(o map[string]any) bool {
	rest := map[string]any{}
	for name, value := range o {
		switch name {
		case "quantity":
			if !isWhole(value) || isBelowZero(value) {
				return false
			}
		case "position":
			if !isWhole(value) {
				return false
			}
		default:
			rest[name] = value
		}
	}
	return acceptableOrder(rest, "|product_id|sku|category|name|brand|variant|coupon|url|image_url|",
		"|price|", "", "")
}

// strictJSON reports whether b is one JSON value without a name twice.
func strictJSON(b []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	for count := 0; ; count++ {
		if _, err := d.ReadValue(); err != nil {
			return err == io.EOF && count == 1
		}
	}
}

func isInteger(v any) bool {
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	if _, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return true
	}
	f, err := strconv.ParseFloat(string(n), 64)
	return err == nil && f == math.Trunc(f) && math.Abs(f) <= 1<<53
}

// isWhole reports whether a value is an integer by JSON Schema, however large.
func isWhole(v any) bool {
	n, ok := v.(json.Number)
	text := regexp.MustCompile(`([eE][+-]?)0*[1-9][0-9]{3,}$`).ReplaceAllString(string(n), "${1}999")
	rat, valid := new(big.Rat).SetString(text)
	return ok && valid && rat.IsInt()
}

func isBelowZero(v any) bool {
	n, _ := v.(json.Number)
	return regexp.MustCompile(`^-[0.]*[1-9]`).MatchString(string(n))
}
