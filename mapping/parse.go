package mapping

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"unicode/utf8"
)

// parser checks that bytes are one JSON object by RFC 8259 without duplicate
// names, nested at most MaxNesting deep, and hands the object's members to an
// envelope in the same pass. It takes bytes that are not UTF-8 in strings.
//
// It is our own because a pass of its own for validity costs more than all the
// rest of the mapping; a fuzz target holds it to the verdict of jsontext.
type parser struct {
	b     []byte
	i     int
	env   envelope
	call  Call       // what a selector sees of the event
	body  encoder    // what is made of the event
	names []seenName // of all objects that are open, the outermost first
	fault string     // what is wrong at i, once a method has returned false
}

// seenName is a name of an object that is open, without quotes and escapes.
type seenName struct {
	hash uint64
	text []byte
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

// parse reads an event. What is wrong with it is in the parser's fault, else its
// envelope is complete. The parser must be released.
func parse(event []byte) *parser {
	p := parsers.Get().(*parser)
	p.b, p.i, p.fault = event, skipByteOrderMark(event), ""
	p.env.event, p.env.validUTF8 = event[p.i:], utf8.Valid(event)
	if !p.event() {
		p.names = p.names[:0]
	}
	return p
}

// skipByteOrderMark returns the index of the first byte that is neither white space nor of a
// byte order mark in UTF-8 (M2).
func skipByteOrderMark(b []byte) int {
	const mark = "\uFEFF"
	i := skipSpace(b, 0)
	for i+len(mark) <= len(b) && string(b[i:i+len(mark)]) == mark {
		i = skipSpace(b, i+len(mark))
	}
	return i
}

// release gives the parser back without anything of the event in it.
func (p *parser) release() {
	p.b, p.env, p.call = nil, envelope{}, Call{}
	p.body = encoder{scratch: p.body.scratch[:0]} // at most MaxNameLength bytes
	if cap(p.names) > maxKeptNames {
		p.names = nil
	}
	clear(p.names[:cap(p.names)])
	parsers.Put(p)
}

// maxKeptNames bounds what a parser keeps between events.
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

// syntax fails with the place of the fault.
func (p *parser) syntax(fault string) bool {
	if p.i >= len(p.b) {
		return p.fail(fmt.Sprintf("the JSON ends too early, after byte %d", len(p.b)))
	}
	return p.fail(fmt.Sprintf("%s, at byte %d", fault, p.i))
}

// space skips white space and returns the byte behind it, 0 at the end. Events
// have hardly any, so the look for it is apart.
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

// value reads a value with level objects and arrays around it.
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

// object reads an object with level-1 objects and arrays around it; that of
// level 1 is the event itself.
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

// manyNames is the number of names from which on an object gets a map of them;
// below it, comparing hashes one by one is faster.
const manyNames = 32

// objectNames are the names of one object so far, either in p.names from first
// on or in many.
type objectNames struct {
	first int
	many  map[string]struct{}
}

// add returns false if the object has the name already.
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

// hashName tells most names apart by their length, start and end.
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

// string reads the string at i and returns its text, which is a part of the
// input unless it holds an escape. Text with bytes that are not UTF-8 stays as
// it stands, so that two names are the same only if those bytes are.
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
	b, start := p.b, p.i // what the loop uses is better not behind a pointer
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

// specialBytes sets the high bit of the lowest byte of word that is a quote, a
// backslash or below 0x20; bits above that one mean nothing.
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
