package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Via is the way of events to SaaSquatch.
type Via string

const (
	// ViaAPI sends each event by itself, as live traffic: SaaSquatch evaluates its programs and gives rewards.
	ViaAPI Via = "api"
	// ViaImport sends events in SaaSquatch's bulk import jobs, which evaluate programs only on request.
	ViaImport Via = "import"
)

// Spec is the task of a run. A store keeps it with the run, as JSON, so that a resumed run has the same task.
type Spec struct {
	// Sources are locations of archives: files, directories, globs, "-" for standard input, or URLs of buckets.
	Sources []string `json:"sources"`
	// From and To are the first and the last day on which Segment received the events; zero for no bound.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// SourceIDs are the Segment sources to replay; none for all.
	SourceIDs []string `json:"source_ids,omitempty"`
	Filter    Filter   `json:"filter"`
	// AnyAge lifts the mapping's time window.
	AnyAge bool `json:"any_age,omitempty"`
	// Limit is the largest number of events to send, 0 for any number. Duplicates do not count.
	Limit int64 `json:"limit,omitempty"`
	// Identify selects identify calls; empty for all that the filter selects.
	Identify Identify `json:"identify,omitempty"`
	Via      Via      `json:"via"`
	// FirePrograms asks SaaSquatch to evaluate its programs for imported events.
	FirePrograms bool `json:"fire_programs,omitempty"`
}

// ParseSpec reads the spec of a run.
func ParseSpec(text json.RawMessage) (*Spec, error) {
	spec := &Spec{}
	if err := json.Unmarshal(text, spec); err != nil {
		return nil, fmt.Errorf("read the run's spec: %w", err)
	}
	return spec, nil
}

// Validate returns all faults of the spec, joined.
func (s *Spec) Validate() error {
	var faults []error
	if len(s.Sources) == 0 {
		faults = append(faults, errors.New(
			"no source: name a file, a directory, a bucket such as s3://bucket/prefix, or - for standard input"))
	}
	if !s.From.IsZero() && !s.To.IsZero() && s.To.Before(s.From) {
		faults = append(faults, fmt.Errorf("to is %s, before from, which is %s: exchange them",
			s.To.Format(time.DateOnly), s.From.Format(time.DateOnly)))
	}
	if s.Limit < 0 {
		faults = append(faults, fmt.Errorf("limit is %d: write a number of events, or 0 for all", s.Limit))
	}
	switch s.Via {
	case ViaAPI, ViaImport:
	default:
		faults = append(faults, fmt.Errorf("via is %q: write %s or %s", s.Via, ViaAPI, ViaImport))
	}
	switch s.Identify {
	case "", IdentifyMerged, IdentifyNewest, IdentifyAll, IdentifyNone:
	default:
		faults = append(faults, fmt.Errorf("identify is %q: write %s, %s, %s or %s",
			s.Identify, IdentifyMerged, IdentifyNewest, IdentifyAll, IdentifyNone))
	}
	if s.Identify.chooses() && slices.Contains(s.Sources, stdinKey) {
		faults = append(faults, fmt.Errorf(
			"identify is %s, but standard input can be read only once: write all or none", s.Identify))
	}
	if s.Via == ViaImport && s.Identify != IdentifyNone {
		faults = append(faults, errors.New("an import job takes events only: replay the users before it, "+
			`with via api and the condition type = "identify", and leave out identify calls here with identify none`))
	}
	if s.FirePrograms && s.Via != ViaImport {
		faults = append(faults, errors.New(
			"fire-programs goes with via import: without it events always fire programs"))
	}
	return errors.Join(append(faults, s.Filter.Validate())...)
}
