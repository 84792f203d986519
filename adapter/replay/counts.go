package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Counts are numbers of what has been read. Those of a run stand with it in the
// store, as its progress.
type Counts struct {
	// Objects have been read to their ends; ObjectsFailed are damaged, or could not
	// be read.
	Objects       int64 `json:"objects"`
	ObjectsFailed int64 `json:"objects_failed"`
	// Bytes are those of the objects as they are stored; TextBytes those of their lines.
	Bytes     int64 `json:"bytes"`
	TextBytes int64 `json:"text_bytes"`
	// Lines are those with something in them.
	Lines int64 `json:"lines"`
	// Warnings are those of the mapping, in number of events.
	Warnings map[mapping.Warning]int64 `json:"warnings,omitempty"`
	// Merged are identify calls with traits of older calls of their user, and MergedCut
	// those among them for which there were more than 1 MiB of these.
	Merged    int64 `json:"identify_merged,omitempty"`
	MergedCut int64 `json:"identify_merged_cut,omitempty"`
	// ConsentDenials are events that the mapping takes although they deny a category of
	// consent. They are counted where the spec names no category.
	ConsentDenials int64 `json:"consent_denials,omitempty"`
	// Events are those that the mapping takes, duplicates among them, by event key;
	// identify calls are under [adapter.UpsertEventKey].
	Events map[string]*KeyCounts `json:"events,omitempty"`
}

// KeyCounts are numbers of the events of one key.
type KeyCounts struct {
	Events int64 `json:"events"`
	// First and Last are the earliest and the latest time of an event, nil if none
	// has one.
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
}

// otherKeys takes the events of all keys beyond the first maxKeys: the names come
// from outside.
const (
	maxKeys   = 1000
	otherKeys = "(other)"
)

func newCounts() *Counts {
	return &Counts{Warnings: make(map[mapping.Warning]int64), Events: make(map[string]*KeyCounts)}
}

// parseCounts reads the progress of a run, which may have none yet.
func parseCounts(text json.RawMessage) (*Counts, error) {
	counts := newCounts()
	if text == nil {
		return counts, nil
	}
	if err := json.Unmarshal(text, counts); err != nil {
		return nil, fmt.Errorf("read the run's progress: %w", err)
	}
	return counts, nil
}

// clone returns a copy that shares nothing with the original.
func (c *Counts) clone() *Counts {
	copied := *c
	copied.Warnings = maps.Clone(c.Warnings)
	copied.Events = make(map[string]*KeyCounts, len(c.Events))
	for key, counts := range c.Events {
		of := *counts
		copied.Events[key] = &of
	}
	return &copied
}

// read counts a block that has been read.
func (c *Counts) read(b *mappedBlock) {
	c.Bytes += b.Stored
	c.TextBytes += b.Bytes
	switch {
	case !b.End:
	case b.Err == nil:
		c.Objects++
	default:
		c.ObjectsFailed++
	}
}

// add counts an event that the mapping takes.
func (c *Counts) add(e *event) {
	for _, warning := range e.mapped.Warnings {
		c.Warnings[warning]++
	}
	if e.denies {
		c.ConsentDenials++
	}
	if e.identity != 0 {
		c.Merged++
		if e.chosen.cut {
			c.MergedCut++
		}
	}
	key, at, timed := e.mapped.UserEvent.Key, e.mapped.UserEvent.DateTriggered, e.mapped.UserEvent.Timed
	if e.mapped.Kind == mapping.KindUserUpsert {
		key, at, timed = adapter.UpsertEventKey, e.millis, e.timed
	}
	of := c.Events[key]
	if of == nil {
		if len(c.Events) >= maxKeys {
			key = otherKeys
			of = c.Events[key]
		}
		if of == nil {
			of = &KeyCounts{}
			c.Events[key] = of
		}
	}
	of.Events++
	if !timed {
		return
	}
	if of.First == nil || at < of.First.UnixMilli() {
		of.First = timeOf(at)
	}
	if of.Last == nil || at > of.Last.UnixMilli() {
		of.Last = timeOf(at)
	}
}

func timeOf(millis int64) *time.Time {
	at := time.UnixMilli(millis).UTC()
	return &at
}

// span returns the times of the first and the last event, nil without any.
func (c *Counts) span() (first, last *time.Time) {
	for _, of := range c.Events {
		if of.First != nil && (first == nil || of.First.Before(*first)) {
			first = of.First
		}
		if of.Last != nil && (last == nil || of.Last.After(*last)) {
			last = of.Last
		}
	}
	return first, last
}
