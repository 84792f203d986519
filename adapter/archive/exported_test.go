package archive_test

import (
	"encoding/json"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/mapping"
)

// TestExported reads lines as `deliveries export` writes them.
func TestExported(t *testing.T) {
	const payload = `{"type":"track","userId":"ä","traits":{"a":[1.50,{}]}}`
	exported := func(change func(*adapter.Delivery)) string {
		d := adapter.Delivery{ID: 7, Connection: "default", Outcome: adapter.Dead, Reason: mapping.ReasonRefused}
		change(&d)
		line, err := json.Marshal(&d)
		if err != nil {
			t.Fatal(err)
		}
		return string(line)
	}
	whole := exported(func(d *adapter.Delivery) { d.Payload = json.RawMessage(payload) })
	none := exported(func(*adapter.Delivery) {})
	damaged := exported(func(d *adapter.Delivery) { d.PayloadText, d.PayloadDamaged = payload, true })
	for name, test := range map[string]struct{ line, want string }{
		"a delivery": {whole, payload},
		"sorted by a tool": {`{ "attempts": 1, "connection": "default", "id": 7, "outcome": "dead", "payload": ` +
			payload + `}`,
			payload},
		"a payload that is no JSON": {exported(func(d *adapter.Delivery) { d.PayloadText = `{"type":` }), `{"type":`},
		"no payload":                {none, none},
		"a damaged payload":         {damaged, damaged},
		"an event with an id":       {`{"id":7,"type":"track"}`, `{"id":7,"type":"track"}`},
		"an event of that form": {`{"id":"7","connection":"default","outcome":"dead","payload":{}}`,
			`{"id":"7","connection":"default","outcome":"dead","payload":{}}`},
		"broken": {`{"id":7,"connection":`, `{"id":7,"connection":`},
	} {
		t.Run(name, func(t *testing.T) {
			lines, _, fault := readPieces(t, []byte(test.line+"\n"), 1<<20, archive.ReadOptions{})
			if fault != nil || len(lines) != 1 || lines[0] != test.want {
				t.Errorf("got %q, %v, want %q", lines, fault, test.want)
			}
		})
	}
}
