package migratecheck

import (
	"encoding/json"
	"strings"
	"time"

	"segment-saasquatch/mapping"
)

const (
	// maxNames limits the names of one kind in a survey, because input decides the names.
	maxNames = 10_000
	// maxName limits the length of a Segment event's name, in bytes. Escaped, it fits into YAML's 1024 characters.
	maxName = 200
)

// Survey counts the names that a configuration sends for some events. Get one from NewSurvey.
type Survey struct {
	// Events are the events in the survey. Upserts are those that create or change a user.
	Events  int64 `json:"events"`
	Upserts int64 `json:"upserts"`
	// Keys are the event keys, by Segment's name.
	Keys map[string]*Key `json:"keys"`
	// CustomFields and Segments count the events that set a custom field, or add a user to a segment.
	CustomFields map[string]int64 `json:"custom_fields"`
	Segments     map[string]int64 `json:"segments"`
	// Skipped and Rejected are the events that are not sent, by reason.
	Skipped  map[mapping.Reason]int64 `json:"skipped"`
	Rejected map[mapping.Reason]int64 `json:"rejected"`
	// Unnamed counts the events with names that the survey leaves out: more than 10 000 of a kind, or one of more
	// than 200 bytes.
	Unnamed int64 `json:"unnamed,omitempty"`
}

// Key is the event key for one of Segment's names.
type Key struct {
	// Key is the event key, empty if the mapping finds none.
	Key    string `json:"key"`
	Events int64  `json:"events"`
}

// NewSurvey returns a survey without events.
func NewSurvey() *Survey {
	return &Survey{
		Keys: make(map[string]*Key), CustomFields: make(map[string]int64), Segments: make(map[string]int64),
		Skipped: make(map[mapping.Reason]int64), Rejected: make(map[mapping.Reason]int64),
	}
}

// Mapper maps an event, as [mapping.Mapper] does.
type Mapper interface {
	MapWith(event []byte, now time.Time, opts mapping.Options) mapping.Result
}

// Take maps an event and adds it. If the selector leaves out the event, it returns false. An event outside the
// mapping's time window counts as skipped, but its names count too, because newer events have the same names.
func (s *Survey) Take(m Mapper, event []byte, now time.Time, selects mapping.Selector) bool {
	var name string
	leftOut := false
	naming := func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		kind, reason, detail := selects(c)
		if leftOut = kind != 0; !leftOut {
			name = string(c.Event())
		}
		return kind, reason, detail
	}
	result := m.MapWith(event, now, mapping.Options{Selects: naming})
	if leftOut {
		return false
	}
	s.Add(name, &result)
	if result.Kind == mapping.KindSkip && result.Reason == mapping.SkipOutsideTimeWindow {
		timeless := m.MapWith(event, time.Time{}, mapping.Options{})
		s.addNames(name, &timeless)
	}
	return true
}

// Add adds a mapped event. Name is Segment's.
func (s *Survey) Add(name string, result *mapping.Result) {
	s.Events++
	switch result.Kind {
	case mapping.KindSkip:
		s.Skipped[result.Reason]++
	case mapping.KindReject:
		s.Rejected[result.Reason]++
	}
	s.addNames(name, result)
}

func (s *Survey) addNames(name string, result *mapping.Result) {
	switch {
	case result.Kind == mapping.KindUserEvent:
		s.addKey(name, result.UserEvent.Key)
	case result.Kind == mapping.KindReject && result.Reason == mapping.RejectEmptyEventKey:
		s.addKey(name, "")
	}
	if len(result.Upserts) == 0 {
		return
	}
	s.Upserts++
	fields, segments := make(map[string]bool), make(map[string]bool)
	for i := range result.Upserts {
		readUpsert(result.Upserts[i].Body, fields, segments)
	}
	s.count(s.CustomFields, fields)
	s.count(s.Segments, segments)
}

func (s *Survey) addKey(name, key string) {
	of := s.Keys[name]
	if of == nil {
		if len(s.Keys) >= maxNames || len(name) > maxName {
			s.Unnamed++
			return
		}
		of = &Key{Key: key}
		s.Keys[name] = of
	}
	of.Events++
}

func (s *Survey) count(counts map[string]int64, names map[string]bool) {
	for name := range names {
		if _, known := counts[name]; !known && len(counts) >= maxNames {
			s.Unnamed++
			continue
		}
		counts[name]++
	}
}

// readUpsert adds the custom fields that an upsert sets (null removes one) and the segments that it adds ("~a" removes
// one, "~*" all).
func readUpsert(body []byte, fields, segments map[string]bool) {
	var upsert struct {
		CustomFields map[string]json.RawMessage `json:"customFields"`
		Segments     []string                   `json:"segments"`
	}
	if json.Unmarshal(body, &upsert) != nil {
		return // a transformer may make any form; SaaSquatch refuses what this cannot read
	}
	for name, value := range upsert.CustomFields {
		if string(value) != "null" {
			fields[name] = true
		}
	}
	for _, operation := range upsert.Segments {
		if !strings.HasPrefix(operation, "~") {
			segments[operation] = true
		}
	}
}
