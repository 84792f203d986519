package webhook

import (
	"bytes"
	"net/http"
	"regexp"

	"segment-saasquatch/mapping"
)

// batch is the events of a request, as they stand in its body.
type batch struct {
	elements [][]byte
	array    bool   // the body is an array
	first    []byte // the first element as it stands in the array, not unwrapped
}

// onlyNulls reports whether the body is an array of one or more nulls, bare or wrapped as the Extensible Webhook wraps
// events.
func (b batch) onlyNulls() bool {
	for _, element := range b.elements {
		if inner, wrapped := wrappedJSON(element); wrapped {
			element = inner
		}
		if !bytes.Equal(element, []byte("null")) {
			return false
		}
	}
	return b.array && len(b.elements) > 0
}

// split cuts a body into its events: one object, or the elements of an array. It sees only brackets and strings,
// without a limit on nesting, so that an invalid element does not cost the others: the mapping judges each. It refuses
// more than maxEvents elements: a body may have millions of tiny ones, and each costs many times its own size.
func split(body []byte, maxEvents int) (batch, error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	i := skipSpace(body, 0)
	if i == len(body) {
		return batch{}, unparsable("the body is empty: map `data` to the whole event in the Segment mapping")
	}
	switch body[i] {
	case '{':
		end := skipValue(body, i)
		if end < 0 {
			return batch{}, unparsable("the body is not JSON: an object is not closed")
		}
		if skipSpace(body, end) != len(body) {
			return batch{}, unparsable("the body is not JSON: there is more behind the object")
		}
		if mapping.IsTrackingBatch(body[i:end]) {
			return batch{}, unparsable("the body is a batch of Segment's Tracking API, " +
				"an object with `batch` and without `type`: " +
				"send it to Segment and connect a webhook destination there, or send the array in `batch` alone")
		}
		return batch{elements: [][]byte{body[i:end]}}, nil
	case '[':
		return splitArray(body, i, maxEvents)
	default:
		if formEncoded(body[i:]) {
			return batch{}, unparsable("the body is form-encoded: " + sendJSON)
		}
		return batch{}, unparsable("the body is neither a JSON object nor an array: " +
			"map `data` to the whole event in the Segment mapping")
	}
}

func splitArray(body []byte, i, maxEvents int) (batch, error) {
	b := batch{array: true, elements: make([][]byte, 0, min(1+len(body)/1024, maxEvents))}
	i = skipSpace(body, i+1)
	for closed := i < len(body) && body[i] == ']'; !closed; {
		start := i
		i = elementEnd(body, i)
		if i < 0 {
			return batch{}, unparsable("the body is not JSON: the array is not closed")
		}
		element := bytes.TrimRight(body[start:i], " \t\r\n")
		if len(element) == 0 {
			return batch{}, unparsable("the body is not JSON: the array has an empty element")
		}
		if len(b.elements) == maxEvents {
			return batch{}, refuse(http.StatusRequestEntityTooLarge, "the array has more than %d events: "+
				"lower the batch size in Segment, which sends 4000 at most", maxEvents)
		}
		if b.first == nil {
			b.first = element
		}
		b.elements = append(b.elements, unwrap(element))
		if closed = body[i] == ']'; !closed {
			i = skipSpace(body, i+1)
		}
	}
	if skipSpace(body, i+1) != len(body) {
		return batch{}, unparsable("the body is not JSON: there is more behind the array")
	}
	return b, nil
}

// firstElement returns the first element of an array from its beginning, nil if the element is incomplete.
func firstElement(beginning []byte) []byte {
	beginning = bytes.TrimPrefix(beginning, []byte("\ufeff"))
	i := skipSpace(beginning, 0)
	if i == len(beginning) || beginning[i] != '[' {
		return nil
	}
	i = skipSpace(beginning, i+1)
	end := elementEnd(beginning, i)
	if end <= i {
		return nil
	}
	return bytes.TrimRight(beginning[i:end], " \t\r\n")
}

// sendJSON is the remedy for a form-encoded body, which the Extensible Webhook can send.
const sendJSON = "remove the header Content-Type: application/x-www-form-urlencoded from the Segment mapping, " +
	"so that Segment sends JSON"

// formName matches the first name in a form-encoded body.
var formName = regexp.MustCompile(`^[A-Za-z0-9*+%._-]+=`)

func formEncoded(body []byte) bool { return formName.Match(body) }

func unparsable(message string) error { return refuse(http.StatusBadRequest, "%s", message) }

// elementEnd returns the index of the comma or bracket that ends the element at i, -1 if there is none.
func elementEnd(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ',', ']':
			return i
		case '"', '{', '[':
			if i = skipValue(b, i); i < 0 {
				return -1
			}
		default:
			i++
		}
	}
	return -1
}

// skipValue returns the index after the string, object or array at i, -1 if it is not closed. It does not check that
// brackets match in kind.
func skipValue(b []byte, i int) int {
	open := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1
			}
			if open == 0 {
				return i
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			if open--; open == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// skipString returns the index after the string at i, -1 if it is not closed.
func skipString(b []byte, i int) int {
	for start := i + 1; ; {
		n := bytes.IndexByte(b[start:], '"')
		if n < 0 {
			return -1
		}
		end := start + n
		escapes := 0
		for b[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return end + 1
		}
		start = end + 1
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// unwrap returns the event in an element of an Extensible Webhook's batch, which wraps it: {"json":{…event…}}.
func unwrap(element []byte) []byte {
	if event, ok := wrappedJSON(element); ok && event[0] == '{' {
		return event
	}
	return element
}

// wrappedJSON returns the value of the member json of an object without other members.
func wrappedJSON(element []byte) (value []byte, ok bool) {
	i := skipSpace(element, 1)
	if element[0] != '{' || element[len(element)-1] != '}' || !bytes.HasPrefix(element[i:], []byte(`"json"`)) {
		return nil, false
	}
	i = skipSpace(element, i+len(`"json"`))
	if i == len(element) || element[i] != ':' {
		return nil, false
	}
	start := skipSpace(element, i+1)
	end := len(element) - 1
	if start < end && element[start] == '{' {
		end = skipValue(element, start)
		if end < 0 || skipSpace(element, end) != len(element)-1 {
			return nil, false
		}
	}
	value = bytes.TrimRight(element[start:end], " \t\r\n")
	return value, len(value) > 0
}
