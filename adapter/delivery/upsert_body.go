package delivery

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// dropMembers returns a copy of a JSON object without the named members, and whether it had any of
// them. The other members keep their order and their text, but not the space between them.
// dropMembers returns another body than a JSON object as it is.
func dropMembers(body []byte, names []string) ([]byte, bool) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	if decoder.PeekKind() != jsontext.KindBeginObject {
		return body, false
	}
	_, err := decoder.ReadToken()
	left, dropped := append(make([]byte, 0, len(body)), '{'), false
	for err == nil && decoder.PeekKind() != jsontext.KindEndObject {
		var name, value jsontext.Value
		if name, err = decoder.ReadValue(); err != nil {
			break
		}
		var text []byte
		if text, err = jsontext.AppendUnquote(nil, name); err != nil {
			break
		}
		name = slices.Clone(name)
		if value, err = decoder.ReadValue(); err != nil {
			break
		}
		if slices.Contains(names, string(text)) {
			dropped = true
			continue
		}
		if len(left) > 1 {
			left = append(left, ',')
		}
		left = append(append(append(left, name...), ':'), value...)
	}
	if err == nil {
		_, err = decoder.ReadToken()
	}
	if err != nil || !dropped {
		return body, false
	}
	return append(left, '}'), true
}
