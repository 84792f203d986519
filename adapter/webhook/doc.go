// Package webhook receives Segment's webhooks: it reads a request, splits it into
// the raw events, verifies who sent it, hands the events to an [Acceptor] and
// answers.
//
//	limit → read → split → verify → accept → answer
//
// Events are never decoded and encoded again, because Segment signs bytes.
//
// Segment knows no partial success. It sends a whole request again after 429, 500,
// 502, 503 and 504, and throws all of it away after any other status from 400 up;
// so a request that was understood is answered with 200 or 503, whatever became
// of single events, and one that did not come whole with 503. The facts about
// Segment are from its documentation of webhooks and from the open source of its
// Actions destinations.
package webhook
