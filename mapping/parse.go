package mapping

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"unicode/utf8"
)

// parser checks that bytes are one JSON object by RFC 8259, without duplicate names, nested at most MaxNesting deep.
// It stores the object's members in an envelope in the same pass. Strings may hold bytes that are not UTF-8.
//
// A library would need a pass of its own for validity, which takes longer than the whole rest of the mapping
// (BenchmarkMap/…/scan). FuzzValidity compares the verdicts with those of jsontext.
type parser struct {
	b     []byte
	i     int
	env   envelope
	call  Call       // the event for a selector
	body  encoder    // the output of the mapping
	names []seenName // of all open objects, the outermost first
	fault string     // the fault at i, once a method has returned false
}

// seenName is a name in an open object, without quotes and escapes.
type seenName struct {
	hash uint64
	text []byte
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

// parse reads an event. Without a fault, the envelope is complete. The caller must release the parser.
func parse(event []byte) *parser {
	p := parsers.Get().(*parser)
	p.b, p.i, p.fault = event, skipByteOrderMark(event), ""
	p.env.event, p.env.validUTF8 = event[p.i:], utf8.Valid(event)
	if !p.event() {
		p.names = p.names[:0]
	}
	return p
}

// skipByteOrderMark returns the index behind white space and byte order marks in UTF-8 (M2).
func skipByteOrderMark(b []byte) int {
	const mark = "\uFEFF"
	i := skipSpace(b, 0)
	for i+len(mark) <= len(b) && string(b[i:i+len(mark)]) == mark {
		i = skipSpace(b, i+len(mark))
	}
	return i
}

// release returns the parser to the pool, without any part of the event.
func (p *parser) release() {
	p.b, p.env, p.call = nil, envelope{}, Call{}
	p.body = encoder{scratch: p.body.scratch[:0]} // at most MaxNameLength bytes
	if cap(p.names) > maxKeptNames {
		p.names = nil
	}
	clear(p.names[:cap(p.names)])
	parsers.Put(p)
}

// maxKeptNames bounds the names that a pooled parser has room for.
const maxKeptNames = 256

// event reads the whole input.
func (p *parser) event() bool {
	switch first := p.space(); {
	case p.i == len(p.b):
		return p.fail("want one JSON object, got nothing")
	case first != '{':
		return p.fail("want one JSON object, got " + kindName(first))
	}
	if !p.object(1) {
		return false
	}
	if p.space(); p.i < len(p.b) {
		return p.syntax("more bytes behind the JSON object")
	}
	return true
}

func (p *parser) fail(fault string) bool {
	p.fault = fault
	return false
}

// syntax fails with the position of the fault.
func (p *parser) syntax(fault string) bool {
	if p.i >= len(p.b) {
		return p.fail(fmt.Sprintf("the JSON ends too early, after byte %d", len(p.b)))
	}
	return p.fail(fmt.Sprintf("%s, at byte %d", fault, p.i))
}

// space skips white space and returns the byte behind it, 0 at the end. Events have little white space, so the
// compiler inlines the usual case.
func (p *parser) space() byte {
	if p.i < len(p.b) && p.b[p.i] > ' ' {
		return p.b[p.i]
	}
	return p.skipSpace()
}

func (p *parser) skipSpace() byte {
	if p.i = skipSpace(p.b, p.i); p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

// value reads a value inside level objects and arrays.
func (p *parser) value(level int) bool {
	switch c := p.space(); c {
	case '"':
		_, ok := p.skipText()
		return ok
	case '{', '[':
		if level == MaxNesting {
			return p.fail(fmt.Sprintf("objects and arrays nest deeper than %d", MaxNesting))
		}
		if c == '{' {
			return p.object(level + 1)
		}
		return p.array(level + 1)
	case 't':
		return p.literal("true")
	case 'f':
		return p.literal("false")
	case 'n':
		return p.literal("null")
	default:
		return p.number()
	}
}

func (p *parser) literal(text string) bool {
	if !bytes.HasPrefix(p.b[p.i:], []byte(text)) {
		return p.syntax("not a JSON value")
	}
	p.i += len(text)
	return true
}

func (p *parser) number() bool {
	end, fault := scanNumber(p.b, p.i)
	p.i = end
	return fault == "" || p.syntax(fault)
}

func (p *parser) array(level int) bool {
	p.i++
	if p.space() == ']' {
		p.i++
		return true
	}
	for {
		if !p.value(level) {
			return false
		}
		switch p.space() {
		case ',':
			p.i++
		case ']':
			p.i++
			return true
		default:
			return p.syntax("want a comma or ] in an array")
		}
	}
}

// object reads an object inside level-1 objects and arrays. Level 1 is the event itself.
func (p *parser) object(level int) bool {
	p.i++
	if p.space() == '}' {
		p.i++
		return true
	}
	names := objectNames{first: len(p.names)}
	for {
		if p.space() != '"' {
			return p.syntax("want a name in double quotes in an object")
		}
		start := p.i
		name, ok := p.string()
		if !ok {
			return false
		}
		if !names.add(p, name) {
			p.i = start
			return p.syntax("duplicate name in an object")
		}
		if p.space() != ':' {
			return p.syntax("want a colon behind the name in an object")
		}
		p.i++
		p.space()
		start = p.i
		if !p.value(level) {
			return false
		}
		if level == 1 {
			p.env.keep(name, p.b[start:p.i])
		}
		switch p.space() {
		case ',':
			p.i++
		case '}':
			p.i++
			p.names = p.names[:names.first]
			return true
		default:
			return p.syntax("want a comma or } in an object")
		}
	}
}

// manyNames is the number of names that an object compares by hash before it gets a map. Below it, the comparison is
// faster.
const manyNames = 32

// objectNames holds the names of one object so far: in p.names from first on, or in many.
type objectNames struct {
	first int
	many  map[string]struct{}
}

// add returns false if the object already has the name.
func (o *objectNames) add(p *parser, name []byte) bool {
	if o.many != nil {
		if _, seen := o.many[string(name)]; seen {
			return false
		}
		o.many[string(name)] = struct{}{}
		return true
	}
	hash := hashName(name)
	own := p.names[o.first:]
	for i := range own {
		if own[i].hash == hash && bytes.Equal(own[i].text, name) {
			return false
		}
	}
	p.names = append(p.names, seenName{hash, name})
	if len(own) == manyNames {
		o.many = make(map[string]struct{}, 4*manyNames)
		for _, seen := range p.names[o.first:] {
			o.many[string(seen.text)] = struct{}{}
		}
	}
	return true
}

// hashName combines the length, start and end of a name, which distinguish most names.
func hashName(name []byte) uint64 {
	n := len(name)
	hash := uint64(n) * eachByte
	switch {
	case n >= 8:
		hash ^= binary.LittleEndian.Uint64(name)
		hash ^= bits.RotateLeft64(binary.LittleEndian.Uint64(name[n-8:]), 29)
	case n >= 4:
		hash ^= uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<32
	default:
		for i, c := range name {
			hash ^= uint64(c) << (8 * i)
		}
	}
	return hash
}

// string reads the string at i and returns its text, which is part of the input unless the string holds an escape.
// Bytes that are not UTF-8 stay unchanged, so that two names are equal only if these bytes are.
func (p *parser) string() (text []byte, ok bool) {
	start := p.i
	escaped, ok := p.skipText()
	if !ok {
		return nil, false
	}
	if quoted := p.b[start:p.i]; escaped && utf8.Valid(quoted) {
		return unquote(quoted, true), true
	}
	return p.b[start+1 : p.i-1], true
}

// skipText skips the string at i and reports whether it holds an escape.
func (p *parser) skipText() (escaped, ok bool) {
	b, start := p.b, p.i // local variables are faster than fields in the loop
	for i := start + 1; ; {
		for i+8 <= len(b) {
			word := binary.LittleEndian.Uint64(b[i:])
			if found := specialBytes(word); found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		if p.i = i; i >= len(b) {
			return false, p.syntax("")
		}
		switch c := b[i]; {
		case c == '"':
			p.i++
			return escaped, true
		case c == '\\':
			escaped = true
			if !p.escape() {
				return false, false
			}
			i = p.i
		case c < ' ':
			return false, p.syntax("a control character in a string, which must be escaped")
		default:
			i++
		}
	}
}

// escape skips the escape sequence at i.
func (p *parser) escape() bool {
	p.i++
	if p.i >= len(p.b) {
		return p.syntax("")
	}
	switch p.b[p.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		p.i++
		return true
	case 'u':
		for range 4 {
			p.i++
			if p.i >= len(p.b) || !isHex(p.b[p.i]) {
				return p.syntax(`\u without four hexadecimal digits in a string`)
			}
		}
		p.i++
		return true
	default:
		return p.syntax("an unknown escape in a string")
	}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// specialBytes sets the high bit of the lowest byte in word that is a quote, a backslash or below 0x20. Higher bits
// mean nothing.
func specialBytes(word uint64) uint64 {
	quote := (word ^ eachByte*'"') - eachByte
	backslash := (word ^ eachByte*'\\') - eachByte
	control := word - eachByte*0x20
	return (quote | backslash | control) &^ word & (eachByte * 0x80)
}

// kindName names the JSON type of a value by its first byte.
func kindName(first byte) string {
	switch {
	case first == '{':
		return "an object"
	case first == '[':
		return "an array"
	case first == '"':
		return "a string"
	case first == 't', first == 'f':
		return "a boolean"
	case first == 'n':
		return "null"
	case startsNumber(first):
		return "a number"
	default:
		return "bytes that are not JSON"
	}
}
