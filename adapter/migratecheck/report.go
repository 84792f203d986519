package migratecheck

import (
	"cmp"
	"maps"
	"slices"

	"segment-saasquatch/mapping"
)

// Report is how the names that a configuration sends differ from those that the
// tenant has. Lists are in the order of how many events they concern.
type Report struct {
	// EventKeys, CustomFields and Segments would be sent, and the tenant does not have
	// them.
	EventKeys    []Missing `json:"event_keys"`
	CustomFields []Missing `json:"custom_fields"`
	Segments     []Missing `json:"segments"`
	// Orders would be sent by a key of their own, while the tenant has had them as
	// purchases or refunds.
	Orders []Order `json:"orders"`
	// Keyless are names of events that are rejected as empty_event_key.
	Keyless []Missing `json:"keyless"`
	// Unused are names that the tenant has and no event of the survey brings, those
	// of SaaSquatch's own aside. That is no difference: a survey sees few events.
	Unused Vocabulary `json:"unused"`

	config configLines
}

// Missing is a name that the tenant does not have.
type Missing struct {
	// Name is what would be sent; for events without a key Segment's name.
	Name   string `json:"name"`
	Events int64  `json:"events"`
	// From are Segment's names of the events that have the key, sorted.
	From []string `json:"from,omitempty"`
	// Similar are names that the tenant has and that are the same but for letter
	// case and signs, sorted.
	Similar []string `json:"similar,omitempty"`
	// Archived says that the tenant has the segment, but archived.
	Archived bool `json:"archived,omitempty"`
}

// Order is a kind of order that is not sent as one.
type Order struct {
	// Event is Segment's name, Key what would be sent, Reserved SaaSquatch's key.
	Event    string `json:"event"`
	Key      string `json:"key"`
	Reserved string `json:"reserved"`
	Events   int64  `json:"events"`
}

// Differences is how many there are.
func (r *Report) Differences() int {
	return len(r.EventKeys) + len(r.CustomFields) + len(r.Segments) + len(r.Orders) + len(r.Keyless)
}

// Compare compares what the rules made of the survey's events with the tenant's
// names.
func Compare(s *Survey, rules *mapping.Rules, tenant *Vocabulary) *Report {
	r := &Report{Orders: []Order{}, Keyless: []Missing{}}
	r.compareKeys(s, rules, tenant)
	r.CustomFields = missing(s.CustomFields, tenant.CustomFields)
	archived := setOf(tenant.Archived)
	r.Segments = missing(s.Segments, without(tenant.Segments, archived))
	for i := range r.Segments {
		r.Segments[i].Archived = archived.has(r.Segments[i].Name)
	}

	// A name that stands beside a difference is not told of twice.
	keys := setOf(ownKeys, similarOf(r.EventKeys), similarOf(r.Keyless))
	for _, of := range s.Keys {
		keys[of.Key] = struct{}{}
	}
	r.Unused = Vocabulary{
		EventKeys:    without(tenant.EventKeys, keys),
		CustomFields: without(tenant.CustomFields, setOf(ownFields, slices.Collect(maps.Keys(s.CustomFields)), similarOf(r.CustomFields))),
		Segments:     without(tenant.Segments, setOf(tenant.Archived, slices.Collect(maps.Keys(s.Segments)), similarOf(r.Segments))),
	}
	return r
}

// compareKeys compares event keys, and finds out what would have to stand in
// events.keys.
func (r *Report) compareKeys(s *Survey, rules *mapping.Rules, tenant *Vocabulary) {
	seen := setOf(tenant.EventKeys)
	keys := make(map[string]*Missing)
	for name, of := range s.Keys {
		reserved := reservedKey(name, rules)
		switch {
		case of.Key == "":
			r.Keyless = append(r.Keyless, Missing{Name: name, Events: of.Events})
		case reserved != "" && of.Key != reserved && seen.has(reserved):
			r.Orders = append(r.Orders, Order{name, of.Key, reserved, of.Events})
			r.config.remapOrders = true
		case !seen.has(of.Key):
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
			r.config.add(name, r.EventKeys[i].Similar, rules)
		}
	}
	for i := range r.Keyless {
		r.config.addKeyless(r.Keyless[i].Name, r.Keyless[i].Similar, rules)
	}
}

// reservedKey returns the key of SaaSquatch's that the name would have if orders were
// remapped, empty if they are, or if the name's key is configured.
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

// missing returns the names that the tenant does not have.
func missing(counts map[string]int64, tenant []string) []Missing {
	list := []Missing{}
	has, similar := setOf(tenant), foldAll(tenant)
	for name, events := range counts {
		if !has.has(name) {
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
