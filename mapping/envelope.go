package mapping

// envelopeField is a member that Segment gives every event.
type envelopeField uint8

const (
	envType envelopeField = iota
	envEvent
	envUserID
	envAnonymousID
	envMessageID
	envTimestamp
	envOriginalTimestamp
	envReceivedAt
	envSentAt
	envProperties
	envTraits
	envContext
	envIntegrations
	envCount
	envNone = envCount
)

// envelope holds the raw value of each field; nil if it is absent (M2).
type envelope struct {
	values    [envCount][]byte
	validUTF8 bool
	event     []byte
	// notObject holds the warnings about properties and traits that are no objects.
	notObject warningSet
}

// keep stores a member of the event if it is a field of the envelope and has the expected type. The exact spelling
// wins, else the first other spelling.
func (env *envelope) keep(name, value []byte) {
	field := exactField(name)
	exact := field != envNone
	if !exact {
		if field = foldedField(name); field == envNone || env.values[field] != nil {
			return
		}
	}
	switch {
	case field.takes(value[0]):
		env.values[field] = value
		if exact {
			env.notObject &^= field.notObject() // about other spellings, which do not count
		}
	case value[0] != 'n':
		env.notObject |= field.notObject()
	}
}

// notObject returns the warning about a value of the field that is no object, if the field should be one.
func (f envelopeField) notObject() warningSet {
	switch f {
	case envProperties:
		return warnPropertiesNotObject
	case envTraits:
		return warnTraitsNotObject
	}
	return 0
}

// takes reports whether a value with this first byte has the JSON type of the field. A value of another type counts
// as absent.
func (f envelopeField) takes(first byte) bool {
	switch f {
	case envUserID, envMessageID, envTimestamp, envOriginalTimestamp, envReceivedAt, envSentAt:
		return first == '"' || startsNumber(first)
	case envProperties, envTraits, envContext, envIntegrations:
		return first == '{'
	default:
		return first == '"'
	}
}

// exactField returns the field with exactly this name. It runs for every member of every event, and a switch is
// several times as fast as a map.
func exactField(name []byte) envelopeField {
	switch string(name) {
	case "type":
		return envType
	case "event":
		return envEvent
	case "userId":
		return envUserID
	case "anonymousId":
		return envAnonymousID
	case "messageId":
		return envMessageID
	case "timestamp":
		return envTimestamp
	case "originalTimestamp":
		return envOriginalTimestamp
	case "receivedAt":
		return envReceivedAt
	case "sentAt":
		return envSentAt
	case "properties":
		return envProperties
	case "traits":
		return envTraits
	case "context":
		return envContext
	case "integrations":
		return envIntegrations
	}
	return envNone
}

// foldedFields holds the names of the fields in the form of foldName.
var foldedFields = [envCount]string{
	"type", "event", "userid", "anonymousid", "messageid", "timestamp", "originaltimestamp", "receivedat", "sentat",
	"properties", "traits", "context", "integrations",
}

// foldedField returns the field whose name differs only in case and underscores.
func foldedField(name []byte) envelopeField {
	var longest [len("originalTimestamp")]byte
	folded := foldName(longest[:0], name)
	for field, known := range foldedFields {
		if string(folded) == known {
			return envelopeField(field)
		}
	}
	return envNone
}

// text returns the text of a string field, or the literal of a number; nil if the field is absent.
func (env *envelope) text(field envelopeField) []byte {
	value := env.values[field]
	if value == nil {
		return nil
	}
	return textOrLiteral(value, env.validUTF8)
}

// find returns the raw value at the path; nil if there is none. The first name of the path may be a field of the
// envelope.
func (env *envelope) find(path []string) []byte {
	value := env.event
	if field := exactField([]byte(path[0])); field != envNone {
		value, path = env.values[field], path[1:]
	}
	for _, name := range path {
		if value = findMember(value, name, env.validUTF8); value == nil {
			return nil
		}
	}
	return value
}

func findMember(object []byte, name string, validUTF8 bool) []byte {
	if len(object) == 0 || object[0] != '{' {
		return nil
	}
	for quoted, value := range membersOf(object, 0).each {
		if string(unquote(quoted, validUTF8)) == name {
			return value
		}
	}
	return nil
}
