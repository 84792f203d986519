package archive

import (
	"bytes"
	"encoding/json"
)

// exportedDelivery is the part of a line of `deliveries export` that holds its event and
// distinguishes it from a call of Segment.
type exportedDelivery struct {
	ID          int64           `json:"id"`
	Connection  string          `json:"connection"`
	Outcome     string          `json:"outcome"`
	Payload     json.RawMessage `json:"payload"`
	PayloadText string          `json:"payload_text"`
	Damaged     bool            `json:"payload_damaged"`
}

// exportedFields are the fields that an exported delivery can begin with, as this program
// writes it and as a tool that sorts the fields does.
var exportedFields = [][]byte{[]byte(`"id"`), []byte(`"account_id"`), []byte(`"ambiguous"`), []byte(`"attempts"`)}

// eventOf returns the event in a line of `deliveries export`, and any other line unchanged. A
// delivery without its payload, or with a damaged one, has no event: eventOf returns its line, in
// which the mapping finds no type.
func eventOf(line []byte) []byte {
	if !mayBeExported(line) {
		return line
	}
	var d exportedDelivery
	if json.Unmarshal(line, &d) != nil || d.ID == 0 || d.Connection == "" || d.Outcome == "" || d.Damaged {
		return line
	}
	switch {
	case len(d.Payload) > 0:
		return d.Payload
	case d.PayloadText != "":
		return []byte(d.PayloadText)
	}
	return line
}

// mayBeExported looks at the first field only, so that other lines cost nothing.
func mayBeExported(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	line = bytes.TrimLeft(line[1:], " \t\r\n")
	for _, field := range exportedFields {
		if bytes.HasPrefix(line, field) {
			return true
		}
	}
	return false
}
