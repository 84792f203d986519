package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Counts are numbers of what has been read. A store keeps those of a run as its progress.
type Counts struct {
	// Objects have been read to their ends. ObjectsFailed are damaged or could not be read.
	Objects       int64 `json:"objects"`
	ObjectsFailed int64 `json:"objects_failed"`
	// Bytes are the bytes of the objects as they are stored, TextBytes those of their lines.
	Bytes     int64 `json:"bytes"`
	TextBytes int64 `json:"text_bytes"`
	// Lines are the lines that are not empty.
	Lines int64 `json:"lines"`
	// Warnings count the events with a warning of the mapping.
	Warnings map[mapping.Warning]int64 `json:"warnings,omitempty"`
	// Merged are identify calls that get traits of older calls of their user. MergedCut are those of them
	// whose older traits had more than 1 MiB.
	Merged    int64 `json:"identify_merged,omitempty"`
	MergedCut int64 `json:"identify_merged_cut,omitempty"`
	// ConsentDenials are mapped events that deny a category of consent, while the spec names no category.
	ConsentDenials int64 `json:"consent_denials,omitempty"`
	// Events are the mapped events, with duplicates, by event key. Identify calls are under
	// [adapter.UpsertEventKey].
	Events map[string]*KeyCounts `json:"events,omitempty"`
}

// KeyCounts are numbers of the events of one key.
type KeyCounts struct {
	Events int64 `json:"events"`
	// First and Last are the earliest and the latest time of an event, nil if none has a time.
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
}

// otherKeys counts the events of all keys beyond the first maxKeys, because input decides the names.
const (
	maxKeys   = 1000
	otherKeys = "(other)"
)

func newCounts() *Counts {
	return &Counts{Warnings: make(map[mapping.Warning]int64), Events: make(map[string]*KeyCounts)}
}

// parseCounts reads the progress of a run, nil before the first batch.
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

// read counts a block after its last line.
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
	if of == nil && len(c.Events) >= maxKeys {
		key = otherKeys
		of = c.Events[key]
	}
	if of == nil {
		of = &KeyCounts{}
		c.Events[key] = of
	}
	of.Events++
	if timed {
		of.extend(time.UnixMilli(at).UTC())
	}
}

func (k *KeyCounts) extend(at time.Time) {
	if k.First == nil || at.Before(*k.First) {
		first := at // a copy, so that other times stay off the heap
		k.First = &first
	}
	if k.Last == nil || at.After(*k.Last) {
		last := at
		k.Last = &last
	}
}

// span returns the times of the first and the last event, nil without any.
func (c *Counts) span() (first, last *time.Time) {
	var all KeyCounts
	for _, of := range c.Events {
		if of.First != nil {
			all.extend(*of.First)
			all.extend(*of.Last)
		}
	}
	return all.First, all.Last
}
