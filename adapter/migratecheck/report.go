package migratecheck

import (
	"cmp"
	"maps"
	"slices"

	"segment-saasquatch/mapping"
)

// Report lists the differences between the names that a configuration sends and the tenant's names. Each list is
// sorted by the number of events.
type Report struct {
	// EventKeys, CustomFields and Segments would be sent, but the tenant does not have them.
	EventKeys    []Missing `json:"event_keys"`
	CustomFields []Missing `json:"custom_fields"`
	Segments     []Missing `json:"segments"`
	// Orders would be sent with keys of their own, but the tenant has purchases or refunds.
	Orders []Order `json:"orders"`
	// Keyless are names of events that are rejected as empty_event_key.
	Keyless []Missing `json:"keyless"`
	// Unused are the tenant's names that no event of the survey has, without SaaSquatch's own names. They are no
	// difference: a survey sees few events.
	Unused Vocabulary `json:"unused"`

	config configLines
}

// Missing is a name that the tenant does not have.
type Missing struct {
	// Name would be sent. For an event without a key it is Segment's name.
	Name   string `json:"name"`
	Events int64  `json:"events"`
	// From are Segment's names of the events with this key, sorted.
	From []string `json:"from,omitempty"`
	// Similar are the tenant's names that differ in letter case and signs only, sorted.
	Similar []string `json:"similar,omitempty"`
	// Archived means that the tenant has the segment, but archived.
	Archived bool `json:"archived,omitempty"`
}

// Order is a kind of order that is sent as another event.
type Order struct {
	Event    string `json:"event"`    // Segment's name
	Key      string `json:"key"`      // would be sent
	Reserved string `json:"reserved"` // SaaSquatch's key
	Events   int64  `json:"events"`
}

// Differences returns the number of differences.
func (r *Report) Differences() int {
	return len(r.EventKeys) + len(r.CustomFields) + len(r.Segments) + len(r.Orders) + len(r.Keyless)
}

// Compare compares the survey, which the rules have mapped, with the tenant's names.
func Compare(s *Survey, rules *mapping.Rules, tenant *Vocabulary) *Report {
	r := &Report{Orders: []Order{}, Keyless: []Missing{}}
	r.compareKeys(s, rules, tenant)
	r.CustomFields = missing(s.CustomFields, tenant.CustomFields)
	archived := setOf(tenant.Archived)
	r.Segments = missing(s.Segments, without(tenant.Segments, archived))
	for i := range r.Segments {
		r.Segments[i].Archived = archived[r.Segments[i].Name]
	}

	// A name beside a difference is not listed again.
	keys := setOf(ownKeys, similarOf(r.EventKeys), similarOf(r.Keyless))
	for _, of := range s.Keys {
		keys[of.Key] = true
	}
	fields, segments := slices.Collect(maps.Keys(s.CustomFields)), slices.Collect(maps.Keys(s.Segments))
	r.Unused = Vocabulary{
		EventKeys:    without(tenant.EventKeys, keys),
		CustomFields: without(tenant.CustomFields, setOf(ownFields, fields, similarOf(r.CustomFields))),
		Segments:     without(tenant.Segments, setOf(tenant.Archived, segments, similarOf(r.Segments))),
	}
	return r
}

func (r *Report) compareKeys(s *Survey, rules *mapping.Rules, tenant *Vocabulary) {
	seen := setOf(tenant.EventKeys)
	keys := make(map[string]*Missing)
	for name, of := range s.Keys {
		reserved := reservedKey(name, rules)
		switch {
		case of.Key == "":
			r.Keyless = append(r.Keyless, Missing{Name: name, Events: of.Events})
		case reserved != "" && of.Key != reserved && seen[reserved]:
			r.Orders = append(r.Orders, Order{name, of.Key, reserved, of.Events})
			r.config.remapOrders = true
		case !seen[of.Key]:
			m := keys[of.Key]
			if m == nil {
				m = &Missing{Name: of.Key}
				keys[of.Key] = m
			}
			m.Events += of.Events
			m.From = append(m.From, name)
		}
	}
	similar := foldAll(tenant.EventKeys)
	r.EventKeys = []Missing{}
	for _, m := range keys {
		slices.Sort(m.From)
		m.Similar = similar.similar(append([]string{m.Name}, m.From...)...)
		r.EventKeys = append(r.EventKeys, *m)
	}
	for i := range r.Keyless {
		r.Keyless[i].Similar = similar.similar(r.Keyless[i].Name)
	}
	sortMissing(r.EventKeys)
	sortMissing(r.Keyless)
	slices.SortFunc(r.Orders, func(a, b Order) int { return cmp.Compare(a.Event, b.Event) })
	for i := range r.EventKeys {
		for _, name := range r.EventKeys[i].From {
			r.config.add(name, r.EventKeys[i].Similar, rules, false)
		}
	}
	for i := range r.Keyless {
		r.config.add(r.Keyless[i].Name, r.Keyless[i].Similar, rules, true)
	}
}

// reservedKey returns SaaSquatch's key of an order, empty if orders are remapped, or the name's key is configured.
func reservedKey(name string, rules *mapping.Rules) string {
	if _, configured := rules.Keys[name]; configured || rules.RemapOrders {
		return ""
	}
	switch name {
	case "Order Completed":
		return keyPurchase
	case "Order Refunded":
		return keyRefund
	}
	return ""
}

func missing(counts map[string]int64, tenant []string) []Missing {
	list := []Missing{}
	seen, similar := setOf(tenant), foldAll(tenant)
	for name, events := range counts {
		if !seen[name] {
			list = append(list, Missing{Name: name, Events: events, Similar: similar.similar(name)})
		}
	}
	sortMissing(list)
	return list
}

func sortMissing(list []Missing) {
	slices.SortFunc(list, func(a, b Missing) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Name, b.Name))
	})
}

func similarOf(list []Missing) (names []string) {
	for i := range list {
		names = append(names, list[i].Similar...)
	}
	return names
}
