package mapping

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// isKeyed reports whether the messageId is an idempotency key: a string of the
// right form. A number is none, whatever its digits (M16).
func (env *envelope) isKeyed(messageID []byte) bool {
	return IsIdempotencyKey(messageID) && env.values[envMessageID][0] == '"'
}

// identify completes a result by what tells its event from others.
func (env *envelope) setIdentity(result *Result, messageID []byte) {
	if result.Kind != KindUserEvent {
		result.MessageID, result.Event = string(messageID), string(env.text(envEvent))
	} else if result.UserEvent.IdempotencyKey != "" {
		return
	}
	if len(messageID) == 0 || env.isKeyed(messageID) {
		return
	}
	// A result with nothing to send needs no identity, but a number must not pass for
	// a key.
	toSend := result.Kind == KindUserEvent || result.Kind == KindUserUpsert
	if toSend || IsIdempotencyKey(messageID) {
		result.Identity = env.identity(messageID)
	}
}

// identity returns the identity of an event whose messageId is no
// idempotency key; see [Result]. Stores keep it, so it must never change.
//
// It is made of the envelope's fields under the names of rule M2: messageId; the
// type, "track" or "identify" however the sender spells it; userId; event; and the
// first of timestamp, originalTimestamp, receivedAt and sentAt that is not blank.
// Each field counts by its text: a string without its escapes, a number by its
// literal text; an absent field counts as an empty text. The identity is the first
// 8 bytes of the SHA-256 of these texts, each behind its length as a uvarint; the
// lowest bit is set, since 0 stands for a key.
//
// Segment redelivers, archives and replays an event with the same values in these
// fields. Two events are taken for one if they have all of them in common, whatever
// their properties and traits.
func (env *envelope) identity(messageID []byte) int64 {
	callType := []byte("track")
	if bytes.EqualFold(env.text(envType), []byte("identify")) {
		callType = []byte("identify")
	}
	var buf [512]byte
	texts := buf[:0]
	for _, text := range [...][]byte{messageID, callType, env.text(envUserID), env.text(envEvent), env.timeText()} {
		texts = append(binary.AppendUvarint(texts, uint64(len(text))), text...)
	}
	sum := sha256.Sum256(texts)
	return int64(binary.BigEndian.Uint64(sum[:]) | 1)
}

// timeText returns the text of the first time that is not blank, readable or not;
// nil if there is none. Blank is white space of ASCII: what rule M9 can read, or
// counts as blank, may change, and the identity of an event must not.
func (env *envelope) timeText() []byte {
	for _, field := range [...]envelopeField{envTimestamp, envOriginalTimestamp, envReceivedAt, envSentAt} {
		if text := env.text(field); len(bytes.Trim(text, " \t\r\n")) > 0 {
			return text
		}
	}
	return nil
}
