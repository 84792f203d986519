package mapping

import (
	"bytes"
	"strconv"
)

// appendOrder appends the fields of a purchase or refund, conformed to schema (M14). It returns false if the event is
// rejected.
func (e *encoder) appendOrder(properties []byte, schema fieldSet) bool {
	e.unsupported = false
	e.raw("{")
	walk := e.orderWalk(properties, 0, schema)
	for {
		field, ok := walk.next()
		if !ok {
			break
		}
		e.appendField(&walk, field)
	}
	e.raw("}")
	return !e.unsupported
}

// appendField appends the current member of the walk as the field, or drops it with a warning. The walk then stands
// behind the value.
func (e *encoder) appendField(walk *orderWalk, field orderField) {
	i := walk.i
	if field == 0 {
		e.warnings |= warnFieldNotInSchema
		walk.i = skipValue(walk.b, i)
		return
	}
	start := len(e.dst)
	e.separate()
	e.raw(orderFields[field].member)
	as := orderFields[field].as
	if as == typeProducts && walk.b[i] == '[' {
		walk.i = e.appendProducts(walk.b, i)
		walk.taken.add(field)
		return
	}
	walk.i = skipValue(walk.b, i)
	if !e.appendScalar(walk.b[i:walk.i], as) {
		e.dst = e.dst[:start]
		e.warnings |= warnFieldInvalid
		return
	}
	walk.taken.add(field)
}

// appendScalar appends the value in the type of the field, converted if necessary. If it returns false, the value
// does not fit, and the caller must discard what it appended.
func (e *encoder) appendScalar(value []byte, as fieldType) bool {
	if isOutOfRange(value) { // M13
		e.warnings |= warnValueUnsupported
		switch {
		case e.rules.InvalidValues == InvalidDiscardEvent:
			e.unsupported = true
			return false
		case e.rules.InvalidValues == InvalidNull, as != typeString && as != typeID:
			return false
		}
	}
	switch as {
	case typeString:
		return e.appendOrderString(value)
	case typeID:
		return e.isProductID(value) && e.appendOrderString(value)
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

// isProductID reports whether the value is a number, or a string that is not blank.
func (e *encoder) isProductID(value []byte) bool {
	return isNumber(value) || value[0] == '"' && (isAlphanumeric(value[1]) || e.textOf(value) != nil)
}

// numberText returns the literal of a number, or of a string that holds a number, with or without a currency sign
// before it.
func (e *encoder) numberText(value []byte) (text []byte, ok bool) {
	if isNumber(value) {
		return value, true
	}
	if value[0] != '"' {
		return nil, false
	}
	text = bytes.TrimSpace(unquote(value, e.validUTF8))
	for _, sign := range [...]string{"$", "€", "£"} {
		if rest, found := bytes.CutPrefix(text, []byte(sign)); found {
			text = bytes.TrimSpace(rest)
			break
		}
	}
	_, ok = parseDecimal(text)
	return text, ok && !isOutOfRange(text)
}

func (e *encoder) appendMoney(value []byte) bool {
	text, ok := e.numberText(value)
	if !ok {
		return false
	}
	if text[0] == '-' {
		if n, ok := parseDecimal(text); !ok || len(n.digits) > 0 {
			return false
		}
		text = []byte("0") // -0 is a valid amount
	}
	if e.rules.scale == nil {
		e.dst = append(e.dst, text...)
		return true
	}
	start := len(e.dst)
	e.dst, ok = appendScaled(e.dst, text, e.rules.scale)
	return ok && !isOutOfRange(e.dst[start:])
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

// maxIntegerDigits bounds integers: JavaScript cannot hold every integer with more digits.
const maxIntegerDigits = 15

// appendInteger appends a number without a fractional part as an integer: 2.0 becomes 2.
func (e *encoder) appendInteger(value []byte, atLeast0 bool) bool {
	text, ok := e.numberText(value)
	if !ok {
		return false
	}
	n, ok := parseDecimal(text)
	if !ok || n.point > maxIntegerDigits || n.negative && atLeast0 && len(n.digits) > 0 {
		return false
	}
	integer, exact := n.truncated(n.point)
	e.dst = strconv.AppendInt(e.dst, integer, 10)
	return exact
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
			// The warnings of a dropped product do not count.
			e.dst, e.warnings = e.dst[:length], warnings|warnFieldInvalid
		}
	}
	e.raw("]")
	return skipSpace(b, all.i) + 1
}

// appendProduct appends the product at i and returns the index behind it. ok is false if the product has no id, and
// the caller must discard what it appended.
func (e *encoder) appendProduct(b []byte, i int) (end int, ok bool) {
	e.raw("{")
	var id, sku []byte
	walk := e.orderWalk(b, i, productFields)
	for {
		field, ok := walk.next()
		if !ok {
			break
		}
		start := walk.i
		switch field {
		case fieldID:
			walk.i = skipValue(b, start)
			if id = b[start:walk.i]; !isNullOrAbsent(id) {
				walk.taken.add(field)
			}
		case fieldSKU:
			e.appendField(&walk, field)
			sku = b[start:walk.i]
		default:
			e.appendField(&walk, field)
		}
	}
	ok = true
	switch {
	case walk.taken.has(fieldProductID):
		if id != nil {
			e.warnings |= warnFieldNotInSchema
		}
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
	e.raw(orderFields[fieldProductID].member)
	if !e.appendScalar(value, typeID) {
		e.dst = e.dst[:length]
		return false
	}
	return true
}
