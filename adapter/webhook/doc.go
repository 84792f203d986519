// Package webhook receives Segment's webhooks: it reads a request, splits it into the raw events, verifies its sender,
// gives the events to an [adapter.Acceptor] and answers.
//
//	limit → read → split → verify → accept → answer
//
// It never decodes and encodes an event again, because Segment signs bytes.
//
// Segment knows no partial success. It sends a whole request again after 429, 500, 502, 503 and 504, and drops all of
// it after any other status from 400 on. So the answer to a complete and valid request is 200 or 503, whatever the
// outcome of single events, and the answer to an incomplete request is 503. The facts about Segment are from its
// documentation of webhooks and from the open source of its Actions destinations.
package webhook
