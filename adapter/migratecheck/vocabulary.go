package migratecheck

import "slices"

// Vocabulary is the names that a tenant has.
type Vocabulary struct {
	// EventKeys are those of all events that the tenant has seen.
	EventKeys []string `json:"event_keys"`
	// CustomFields are the names of its users' custom fields.
	CustomFields []string `json:"custom_fields"`
	// Segments are the keys of its segments, Archived those of them that are archived.
	Segments []string `json:"segments"`
	Archived []string `json:"archived_segments,omitempty"`
}

// SaaSquatch's names of orders, which it knows without anyone's doing.
const (
	keyPurchase = "purchase"
	keyRefund   = "refund"
)

// ownKeys and ownFields are SaaSquatch's: an integration does not bring them. The
// fields are those in its published schema of a user that no request sets.
var (
	ownKeys   = []string{keyPurchase, keyRefund}
	ownFields = []string{"firstPurchaseDate", "lastPurchaseDate", "lastSeenDate", "totalPurchaseCount"}
)

// set is a set of names.
type set map[string]struct{}

func setOf(lists ...[]string) set {
	s := make(set)
	for _, list := range lists {
		for _, name := range list {
			s[name] = struct{}{}
		}
	}
	return s
}

func (s set) has(name string) bool {
	_, ok := s[name]
	return ok
}

// without returns the names that are not in the set, sorted, each once.
func without(names []string, unwanted set) []string {
	rest := []string{}
	for _, name := range names {
		if !unwanted.has(name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	return slices.Compact(rest)
}
