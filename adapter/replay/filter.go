package replay

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"time"

	"segment-saasquatch/mapping"
)

// Filter selects events of an archive. A zero field selects all.
type Filter struct {
	// Events are names of track calls, exactly as Segment has them.
	Events []string `json:"events,omitempty"`
	// Users are the only userIds to replay. Except are userIds to leave out.
	Users  []string `json:"users,omitempty"`
	Except []string `json:"except_users,omitempty"`
	// UserFile is the file with the last of Users, ExceptFile the file with the last of Except; nil for none.
	UserFile   *UserFile `json:"user_file,omitempty"`
	ExceptFile *UserFile `json:"except_user_file,omitempty"`
	// Since and Until bound the event's own time: not before Since, and before Until. They leave out an event
	// without a time.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Where is a JSONata expression over the event. It selects events for which JSONata's $boolean is true.
	Where string `json:"where,omitempty"`
	// Sample is the share of events to take, above 0 and up to 1; 0 for all. The messageId decides, so the same
	// events are taken every time.
	Sample float64 `json:"sample,omitempty"`
	// Integrations are names of the destination in the events' integrations object. The first one that an event
	// names decides, otherwise its entry for all destinations; [mapping.Call.Switch] compares the names. Archives
	// hold events that were never meant for the destination. None takes all events.
	Integrations []string `json:"integrations,omitempty"`
	// Consent names the categories of consent that the destination needs. It leaves out an event that denies one.
	Consent []string `json:"consent,omitempty"`
}

// DefaultIntegrations names SaaSquatch's own destination in Segment.
var DefaultIntegrations = []string{"SaaSquatch v2"}

// Condition is a compiled expression over an event. It is safe for concurrent use.
type Condition interface {
	EvalBool(event []byte) (bool, error)
}

// Validate returns all faults of the filter, joined.
func (f *Filter) Validate() error {
	var faults []error
	if f.Sample < 0 || f.Sample > 1 || math.IsNaN(f.Sample) {
		faults = append(faults, fmt.Errorf("sample is %v: write a share above 0 and up to 1, such as 1%%", f.Sample))
	}
	for _, category := range f.Consent {
		if strings.TrimSpace(category) == "" {
			faults = append(faults, errors.New("a category of consent is empty: write one as the events name it"))
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		faults = append(faults, fmt.Errorf("until is %s, not after since, which is %s: exchange them",
			f.Until.Format(time.RFC3339), f.Since.Format(time.RFC3339)))
	}
	return errors.Join(faults...)
}

// Selector returns the filter for the mapping. The condition is the compiled Where, nil without one. Cheap checks
// come first.
func (f *Filter) Selector(where Condition) mapping.Selector {
	events, users, except := setOf(f.Events), setOf(f.Users), setOf(f.Except)
	since, until := f.Since.UnixMilli(), f.Until.UnixMilli()
	timed := !f.Since.IsZero() || !f.Until.IsZero()
	integrations := f.integrations()
	return func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		if events != nil && !events[string(c.Event())] {
			return skip(mapping.ReasonFilteredEvent)
		}
		if users != nil && !users[string(c.UserID())] || except[string(c.UserID())] {
			return skip(mapping.ReasonFilteredUser)
		}
		if !integrated(c, integrations) {
			return skip(mapping.ReasonIntegrationDisabled)
		}
		if len(f.Consent) > 0 && c.DeniesConsent(f.Consent) {
			return skip(mapping.ReasonConsentDenied)
		}
		if timed {
			at, ok := c.Time()
			if !ok || !f.Since.IsZero() && at < since || !f.Until.IsZero() && at >= until {
				return skip(mapping.ReasonFilteredTime)
			}
		}
		if f.Sample > 0 && !f.sampled(c) {
			return skip(mapping.ReasonFilteredSample)
		}
		if where != nil {
			ok, err := where.EvalBool(c.Raw())
			switch {
			case err != nil:
				return mapping.KindReject, mapping.ReasonFilteredWhereFailed, "where: " + err.Error()
			case !ok:
				return skip(mapping.ReasonFilteredWhere)
			}
		}
		return 0, "", ""
	}
}

// withoutIdentify leaves out identify calls before the other checks.
func withoutIdentify(selects mapping.Selector) mapping.Selector {
	return func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		if c.IsIdentify() {
			return skip(mapping.ReasonFilteredIdentify)
		}
		return selects(c)
	}
}

func skip(reason mapping.Reason) (mapping.Kind, mapping.Reason, string) {
	return mapping.KindSkip, reason, ""
}

// integrations returns the names to look up, in order: those of the filter, then all destinations.
func (f *Filter) integrations() []mapping.Integration {
	if len(f.Integrations) == 0 {
		return nil
	}
	list := make([]mapping.Integration, 0, len(f.Integrations)+1)
	for _, name := range f.Integrations {
		list = append(list, mapping.NewIntegration(name))
	}
	return append(list, mapping.NewIntegration("all"))
}

// integrated reports whether the event is meant for the destination (M23).
func integrated(c *mapping.Call, integrations []mapping.Integration) bool {
	for i := range integrations {
		if on, named := c.Switch(&integrations[i]); named {
			return on
		}
	}
	return true
}

func (f *Filter) sampled(c *mapping.Call) bool {
	id := c.MessageID()
	if len(id) == 0 {
		id = c.Raw()
	}
	hash := fnv.New64a()
	_, _ = hash.Write(id)
	// The upper bits of this hash are weak for short texts. The product mixes them.
	mixed := hash.Sum64() * 0x9e3779b97f4a7c15
	return float64(mixed>>11)/(1<<53) < f.Sample
}

func setOf(list []string) map[string]bool {
	if len(list) == 0 {
		return nil
	}
	set := make(map[string]bool, len(list))
	for _, text := range list {
		set[text] = true
	}
	return set
}
