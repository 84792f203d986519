package mapping

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// isKeyed reports whether the messageId is an idempotency key: a string of the right form. A number never is (M16).
func (env *envelope) isKeyed(messageID []byte) bool {
	return IsIdempotencyKey(messageID) && env.values[envMessageID][0] == '"'
}

// setIdentity fills in the fields of the result that tell its event from others.
func (env *envelope) setIdentity(result *Result, messageID []byte) {
	if result.Kind != KindUserEvent {
		result.MessageID, result.Event = string(messageID), string(env.text(envEvent))
	} else if result.UserEvent.IdempotencyKey != "" {
		return
	}
	if len(messageID) == 0 || env.isKeyed(messageID) {
		return
	}
	// A result with nothing to send needs no identity, but a number must not look like a key.
	toSend := result.Kind == KindUserEvent || result.Kind == KindUserUpsert
	if toSend || IsIdempotencyKey(messageID) {
		result.Identity = env.identity(messageID)
	}
}

// identity returns the identity of an event whose messageId is no idempotency key; see [Result]. Stores hold
// identities, so the algorithm must never change.
//
// The identity covers five fields by the names of rule M2: messageId; the type, as "track" or "identify"; userId;
// event; and the first time that is not blank, of timestamp, originalTimestamp, receivedAt and sentAt. A string
// counts without its escapes, a number as its literal text, an absent field as an empty text. Each text follows its
// length as a uvarint. The identity is the first 8 bytes of the SHA-256 of all this. Its lowest bit is set, since 0
// stands for a key.
//
// Segment keeps these fields when it redelivers, archives or replays an event. Two events with the same five fields
// count as one, whatever their properties and traits.
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

// timeText returns the text of the first time that is not blank, even if M9 cannot parse it; nil if there is none.
// Blank means ASCII white space here: the definitions of M9 may change, and the identity must not.
func (env *envelope) timeText() []byte {
	for _, field := range [...]envelopeField{envTimestamp, envOriginalTimestamp, envReceivedAt, envSentAt} {
		if text := env.text(field); len(bytes.Trim(text, " \t\r\n")) > 0 {
			return text
		}
	}
	return nil
}
