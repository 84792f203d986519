package mapping

import "bytes"

// IsTrackingBatch reports whether the bytes are a batch of Segment's Tracking API: an object with the array batch and
// no type. Libraries send it to Segment, which delivers its events one by one.
func IsTrackingBatch(event []byte) bool {
	return isWithoutType(event, []byte(`"batch"`), (*envelope).isTrackingBatch)
}

// IsFormEncoded reports whether the bytes are an event that the Extensible Webhook has form-encoded for a batch: an
// object with the string body alone.
func IsFormEncoded(event []byte) bool {
	return isWithoutType(event, []byte(`"body"`), (*envelope).isFormEncoded)
}

// isWithoutType looks for the text first, which is several times as fast as a parse of the event.
func isWithoutType(event, text []byte, is func(*envelope) bool) bool {
	if !bytes.Contains(event, text) {
		return false
	}
	p := parse(event)
	defer p.release()
	return p.fault == "" && len(p.env.text(envType)) == 0 && is(&p.env)
}

func (env *envelope) isTrackingBatch() bool {
	batch := findMember(env.event, "batch", env.validUTF8)
	return batch != nil && batch[0] == '['
}

func (env *envelope) isFormEncoded() bool {
	body := findMember(env.event, "body", env.validUTF8)
	if body == nil || body[0] != '"' {
		return false
	}
	count := 0
	for range membersOf(env.event, 0).each {
		count++
	}
	return count == 1
}

// missingTypeDetail says why an event has no type, as far as its form shows.
func missingTypeDetail(env *envelope) string {
	switch {
	case env.isTrackingBatch():
		return "batch: this is a batch of Segment's Tracking API; " +
			"send it to Segment, or send its events one by one"
	case env.isFormEncoded():
		return "body: this event is form-encoded; " +
			"remove the header Content-Type: application/x-www-form-urlencoded from the Segment mapping"
	default:
		return `type: want a string such as "track"; ` +
			"if the Segment mapping changes the event, map the whole event instead"
	}
}
