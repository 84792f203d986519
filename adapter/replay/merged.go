package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

// choose decides what becomes of an identify call that can be sent: it is sent as it
// is, or with the traits of the user's older calls, or not at all.
func (p *pipeline) choose(b *mappedBlock, e *event) {
	if e.line > b.seen {
		return // it came after the first reading, and is newer than what that saw
	}
	for len(b.choices) > 0 && b.choices[0].line < e.line {
		b.choices = b.choices[1:]
	}
	if len(b.choices) == 0 || b.choices[0].line != e.line {
		e.mapped = mapping.Result{Kind: mapping.KindSkip, Reason: mapping.ReasonIdentifySuperseded}
		return
	}
	c := &b.choices[0]
	if c.user != p.chosen.user(&e.mapped.Upserts[0]) {
		return // the object is another one than that of the first reading
	}
	e.chosen = c
	if len(c.added) > 0 {
		p.merge(e, c)
	}
}

// merge gives an identify call the traits of the user's older calls.
func (p *pipeline) merge(e *event, c *choice) {
	traits := e.traits
	if len(traits) < len("{}") {
		traits = []byte("{}")
	}
	// The newest call's own members, then those of the older ones.
	body := traits[:len(traits)-1]
	all := make([]byte, 0, len(body)+len(c.added)+1)
	all = append(all, body...)
	added := c.added
	if len(bytesOf(body)) == 0 {
		added = added[1:] // without its comma
	}
	all = append(append(all, added...), '}')
	text := mapping.AppendWithTraits(make([]byte, 0, len(e.text)+len(all)), e.text, all)
	merged := p.mapLine(text, nil)
	own := &e.mapped.Upserts[0]
	if merged.Kind == mapping.KindUserUpsert && (merged.Upserts[0].UserID != own.UserID || merged.Upserts[0].AccountID != own.AccountID) {
		return // an older trait leads to another account, so it is not merged
	}
	e.text, e.mapped = text, merged
	e.identity = mergedIdentity(e.call, all)
}

// bytesOf returns what stands between the braces of an object without its last one.
func bytesOf(object []byte) []byte {
	for i, c := range object[1:] {
		switch c {
		case ' ', '\t', '\n', '\r':
		default:
			return object[1+i:]
		}
	}
	return nil
}

// mergedIdentity tells the upsert of merged traits from others: by the identity of the
// newest call and the traits as they are sent. Another replay of the same calls finds
// it, and one of more calls does not. It is stored, so it must never change.
func mergedIdentity(newest int64, traits []byte) int64 {
	text := binary.BigEndian.AppendUint64([]byte("merged"), uint64(newest))
	sum := sha256.Sum256(append(text, traits...))
	return int64(binary.BigEndian.Uint64(sum[:]) | 1) // 0 stands for a key
}

// arrival describes the event to a queue. An upsert of merged traits has its own
// identity whatever the mapping makes of it, since a redrive sends it by that one.
// Without a messageId it gets a name, since a ledger finds nothing without one.
func (e *event) arrival(payload []byte) adapter.Arrival {
	arrival := delivery.ArrivalOf(payload, &e.mapped)
	if e.identity == 0 {
		return arrival
	}
	arrival.Keyed, arrival.Identity, arrival.Fingerprint = false, e.identity, 0
	if arrival.MessageID == "" {
		arrival.MessageID = fmt.Sprintf("merged:%016x", uint64(e.identity))
	}
	return arrival
}
