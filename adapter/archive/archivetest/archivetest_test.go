package archivetest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"testing"
	"time"

	"segment-saasquatch/adapter/archive/archivetest"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// TestGenerate holds the list of lines against their JSON.
func TestGenerate(t *testing.T) {
	a := archivetest.Generate(archivetest.Options{Now: now, EventsPerDay: 700})
	if again := archivetest.Generate(archivetest.Options{Now: now, EventsPerDay: 700}); !reflect.DeepEqual(a, again) {
		t.Error("the same options make another archive")
	}
	seen := make(map[string]bool)
	has := make(map[string]int)
	for _, line := range a.Lines {
		if line.Broken != !json.Valid([]byte(line.Text)) {
			t.Errorf("broken is %v: %s", line.Broken, line.Text)
		}
		if line.Broken {
			has["broken"]++
			continue
		}
		var event struct {
			MessageID, Type, Event, UserID string
			Timestamp                      time.Time
			Integrations                   json.RawMessage
		}
		if err := json.Unmarshal([]byte(line.Text), &event); err != nil {
			t.Fatal(err)
		}
		if event.MessageID != line.MessageID || event.Type != line.Type || event.Event != line.Event ||
			event.UserID != line.UserID || !event.Timestamp.Equal(line.Timestamp) ||
			string(event.Integrations) != line.Integrations {
			t.Errorf("line %+v", line)
		}
		if line.Duplicate && !seen[line.MessageID] {
			t.Errorf("no duplicate: %+v", line)
		}
		if !line.Tail {
			seen[line.MessageID] = true
		}
		for property, is := range map[string]bool{
			"duplicate": line.Duplicate, "tail": line.Tail, "invalid key": !line.ValidKey, "valid key": line.ValidKey,
			"anonymous": line.UserID == "", "too old": now.Sub(line.Timestamp) > 180*24*time.Hour,
			"type " + line.Type: true, "event " + line.Event: true, "integrations " + line.Integrations: true,
		} {
			if is {
				has[property]++
			}
		}
	}
	for _, property := range []string{"broken", "duplicate", "tail", "invalid key", "valid key", "anonymous",
		"too old", "type group", "event Order Completed", "integrations ",
		`integrations {"All":false,"SaaSquatch v2":true}`} {
		if has[property] == 0 {
			t.Errorf("no line is %s", property)
		}
	}
}

func TestWriteLog(t *testing.T) {
	for _, size := range []int64{1, 1000, 5 << 20} {
		var log bytes.Buffer
		lines, written, err := archivetest.WriteLog(&log, size, 1)
		if err != nil || written != int64(log.Len()) || written < size || written > size+5000 ||
			int(lines) != bytes.Count(log.Bytes(), []byte{'\n'}) {
			t.Errorf("size %d: %d lines, %d bytes of %d, %v", size, lines, written, log.Len(), err)
		}
		ids := make(map[string]bool)
		decoder := json.NewDecoder(&log)
		for {
			var event struct{ MessageID string }
			if err := decoder.Decode(&event); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			ids[event.MessageID] = true
		}
		if len(ids) != int(lines) {
			t.Errorf("size %d: %d message ids in %d lines", size, len(ids), lines)
		}
	}
}

func BenchmarkWriteLog(b *testing.B) {
	const size = 256 << 20
	b.SetBytes(size)
	for b.Loop() {
		if _, _, err := archivetest.WriteLog(io.Discard, size, 1); err != nil {
			b.Fatal(err)
		}
	}
}
