package mapping

import "bytes"

// fieldType is how SaaSquatch's schemas of purchase and refund type a field. The
// zero value is a field that they do not have.
type fieldType uint8

const (
	typeString fieldType = iota + 1
	typeMoney            // a number of at least 0, which revenue_scale multiplies
	typeCurrency
	typeCount   // an integer of at least 0
	typeInteger // any integer
	typeProducts
)

// The closed schemas of SaaSquatch's reserved events, from its published
// PurchaseEventFields and RefundEventFields.

func purchaseField(name []byte) fieldType {
	switch string(name) {
	case "checkout_id", "order_id", "affiliation", "coupon":
		return typeString
	case "subtotal", "total", "revenue", "shipping", "tax", "discount":
		return typeMoney
	case "currency":
		return typeCurrency
	case "products":
		return typeProducts
	}
	return 0
}

func refundField(name []byte) fieldType {
	switch string(name) {
	case "checkout_id", "coupon", "subtotal", "discount":
		return 0 // only a purchase has them
	}
	return purchaseField(name)
}

func productField(name []byte) fieldType {
	switch string(name) {
	case "product_id", "sku", "category", "name", "brand", "variant", "coupon", "url", "image_url":
		return typeString
	case "price":
		return typeMoney
	case "quantity":
		return typeCount
	case "position":
		return typeInteger
	}
	return 0
}

// appendOrder appends the fields of a purchase or refund, conformed to schema (M14).
func (e *encoder) appendOrder(properties []byte, schema func(name []byte) fieldType) {
	e.raw("{")
	walk := e.walk(properties, 0)
	for {
		name, ok := walk.next()
		if !ok {
			break
		}
		walk.i = e.appendField(walk.b, walk.i, name, schema(name))
	}
	e.raw("}")
}

// appendField appends the field whose value stands at i, or drops it with a
// warning, and returns the index behind the value.
func (e *encoder) appendField(b []byte, i int, name []byte, as fieldType) (end int) {
	if as == 0 {
		e.warnings |= warnFieldNotInSchema
		end = skipValue(b, i)
		return end
	}
	start := len(e.dst)
	e.name(name)
	if as == typeProducts && b[i] == '[' {
		return e.appendProducts(b, i)
	}
	end = skipValue(b, i)
	if !e.appendScalar(b[i:end], as) {
		e.dst = e.dst[:start]
		e.warnings |= warnFieldInvalid
	}
	return end
}

// appendScalar appends value as the type asks, coercing what can be coerced, and
// returns false if it does not fit. What it appended is of no use then.
func (e *encoder) appendScalar(value []byte, as fieldType) bool {
	switch as {
	case typeString:
		return e.appendOrderString(value)
	case typeMoney:
		return e.appendMoney(value)
	case typeCurrency:
		return e.appendCurrency(value)
	case typeCount, typeInteger:
		return e.appendInteger(value, as == typeCount)
	default:
		return false
	}
}

// appendOrderString appends a string, or a number as one.
func (e *encoder) appendOrderString(value []byte) bool {
	switch {
	case value[0] == '"':
		e.appendString(value, MaxOrderStringChars)
	case isNumber(value):
		e.appendText(value, MaxOrderStringChars)
	default:
		return false
	}
	return true
}

// numberText returns the literal of a number, or of a string that holds one.
func (e *encoder) numberText(value []byte) (text []byte, ok bool) {
	if isNumber(value) {
		return value, true
	}
	if value[0] != '"' {
		return nil, false
	}
	text = bytes.TrimSpace(unquote(value, e.validUTF8))
	_, ok = parseDecimal(text)
	return text, ok
}

func (e *encoder) appendMoney(value []byte) bool {
	text, ok := e.numberText(value)
	if !ok {
		return false
	}
	if text[0] == '-' {
		if n, ok := parseDecimal(text); !ok || n.count > 0 {
			return false
		}
		text = []byte("0") // -0 is not below 0
	}
	if e.rules.scale == nil {
		e.dst = append(e.dst, text...)
		return true
	}
	e.dst, ok = appendScaled(e.dst, text, e.rules.scale)
	return ok
}

func (e *encoder) appendCurrency(value []byte) bool {
	if value[0] != '"' {
		return false
	}
	code := bytes.ToUpper(bytes.TrimSpace(unquote(value, e.validUTF8)))
	if len(code) != 3 || !isUpper(code[0]) || !isUpper(code[1]) || !isUpper(code[2]) {
		return false
	}
	e.quoted(code)
	return true
}

// maxIntegerDigits bounds integers: a JSON number of more digits is not safe in
// the systems that these come from.
const maxIntegerDigits = 15

// appendInteger appends a number without a fractional part as an integer, so
// 2.0 becomes 2.
func (e *encoder) appendInteger(value []byte, atLeast0 bool) bool {
	text, ok := e.numberText(value)
	if !ok {
		return false
	}
	n, ok := parseDecimal(text)
	if !ok || n.point > maxIntegerDigits || n.negative && atLeast0 && n.count > 0 {
		return false
	}
	for i := max(n.point, 0); i < n.count; i++ {
		if n.digit(i) != 0 {
			return false
		}
	}
	if n.count == 0 {
		e.raw("0")
		return true
	}
	if n.negative {
		e.raw("-")
	}
	for i := range n.point {
		if i < n.count {
			e.dst = append(e.dst, '0'+n.digit(i))
		} else {
			e.raw("0")
		}
	}
	return true
}

// appendProducts appends the array at i and returns the index behind it.
func (e *encoder) appendProducts(b []byte, i int) (end int) {
	e.raw("[")
	all := elementsOf(b, i)
	for count := 0; ; {
		start, ok := all.next()
		if !ok {
			break
		}
		if count == MaxProducts {
			e.warnings |= warnProductsTruncated
			all.i = skipValue(b, start)
			continue
		}
		length, warnings := len(e.dst), e.warnings
		e.separate()
		fits := b[start] == '{'
		if fits {
			all.i, fits = e.appendProduct(b, start)
		} else {
			all.i = skipValue(b, start)
		}
		if fits {
			count++
		} else {
			// What was changed in a product that is gone changed nothing.
			e.dst, e.warnings = e.dst[:length], warnings|warnFieldInvalid
		}
	}
	e.raw("]")
	return skipSpace(b, all.i) + 1
}

// appendProduct appends the product at i and returns the index behind it, and
// false if it has no id. What it appended is of no use then.
func (e *encoder) appendProduct(b []byte, i int) (end int, ok bool) {
	e.raw("{")
	var id, sku []byte
	identified := false
	walk := e.walk(b, i)
	for {
		name, ok := walk.next()
		if !ok {
			break
		}
		start, length := walk.i, len(e.dst)
		switch string(name) {
		case "id":
			walk.i = skipValue(b, start)
			id = b[start:walk.i]
		case "product_id":
			walk.i = e.appendField(b, start, name, typeString)
			identified = len(e.dst) > length
		default:
			isSKU := string(name) == "sku" // name is not valid once appendField returns
			walk.i = e.appendField(b, start, name, productField(name))
			if isSKU {
				sku = b[start:walk.i]
			}
		}
	}
	ok = true
	switch {
	case identified && id != nil:
		e.warnings |= warnFieldNotInSchema
	case identified:
	case id != nil && e.appendProductID(id):
	case sku != nil && e.appendProductID(sku):
		if id != nil {
			e.warnings |= warnFieldInvalid
		}
	default:
		ok = false
	}
	e.raw("}")
	return skipSpace(b, walk.i) + 1, ok
}

func (e *encoder) appendProductID(value []byte) bool {
	length := len(e.dst)
	e.separate()
	e.raw(`"product_id":`)
	if !e.appendOrderString(value) {
		e.dst = e.dst[:length]
		return false
	}
	return true
}
