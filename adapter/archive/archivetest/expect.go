package archivetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Expectation is the result of a replay of an archive by the default rules, derived from its list
// of lines alone.
type Expectation struct {
	// Keys are the idempotency keys of the events that arrive, each once.
	Keys map[string]int
	// Unkeyed is the number of events that arrive without a key.
	Unkeyed int
	// Outcomes are numbers of events by outcome.
	Outcomes map[string]int
}

// maxAge is the greatest age of an event by the default rules.
const maxAge = 180 * 24 * time.Hour

// Expect judges the lines. The first of the integrations that an event has decides
// whether it is meant for the destination.
func (a *Archive) Expect(now time.Time, integrations []string) *Expectation {
	e := &Expectation{Keys: make(map[string]int), Outcomes: make(map[string]int)}
	seen := make(map[string]bool)
	for i := range a.Lines {
		line := &a.Lines[i]
		switch {
		case line.Tail:
		case line.Broken:
			e.Outcomes["rejected"]++
		case !line.isMeant(integrations), line.Type != "track", line.UserID == "", now.Sub(line.Timestamp) > maxAge:
			e.Outcomes["skipped"]++
		case seen[line.identity()]:
			e.Outcomes["duplicate"]++
		default:
			e.Outcomes["delivered"]++
			seen[line.identity()] = true
			if line.ValidKey {
				e.Keys[line.MessageID]++
			} else {
				e.Unkeyed++
			}
		}
	}
	return e
}

func (l *Line) isMeant(integrations []string) bool {
	var object map[string]any
	if json.Unmarshal([]byte(l.Integrations), &object) != nil {
		return true // there is none
	}
	for _, name := range integrations {
		if value, named := object[name]; named {
			return value != false
		}
	}
	return true
}

// identity distinguishes the line's event from others. Ids that are no valid keys are often not
// unique, so the text counts with them.
func (l *Line) identity() string {
	if l.ValidKey {
		return l.MessageID
	}
	return l.MessageID + "\n" + l.Text
}

// Compare returns the differences between an expectation and the events that arrived, counted by
// idempotency key, or by anything else for events without one. It does not compare nil outcomes.
func (e *Expectation) Compare(received, outcomes map[string]int) (faults []string) {
	received = maps.Clone(received)
	for _, key := range slices.Sorted(maps.Keys(e.Keys)) {
		if received[key] != 1 {
			faults = append(faults, fmt.Sprintf("event %s arrived %d times", key, received[key]))
		}
		delete(received, key)
	}
	others := 0
	for _, n := range received {
		others += n
	}
	if others != e.Unkeyed {
		faults = append(faults, fmt.Sprintf("%d events arrived beside those with a key, want %d", others, e.Unkeyed))
	}
	if outcomes != nil && !maps.Equal(outcomes, e.Outcomes) {
		faults = append(faults, fmt.Sprintf("outcomes are %v, want %v", outcomes, e.Outcomes))
	}
	return faults
}
