package migratecheck

import (
	"slices"
	"strings"
	"unicode"
)

// Vocabulary is the set of names that a tenant has.
type Vocabulary struct {
	// EventKeys are the keys of all events that the tenant has seen.
	EventKeys []string `json:"event_keys"`
	// CustomFields are the names of its users' custom fields.
	CustomFields []string `json:"custom_fields"`
	// Segments are the keys of its segments. Archived are the archived ones among them.
	Segments []string `json:"segments"`
	Archived []string `json:"archived_segments,omitempty"`
}

// SaaSquatch's keys of orders. Every tenant has them.
const (
	keyPurchase = "purchase"
	keyRefund   = "refund"
)

// ownKeys and ownFields are SaaSquatch's own: no integration sends them. The fields are those of its published schema
// of a user that no request sets.
var (
	ownKeys   = []string{keyPurchase, keyRefund}
	ownFields = []string{"firstPurchaseDate", "lastPurchaseDate", "lastSeenDate", "totalPurchaseCount"}
)

func setOf(lists ...[]string) map[string]bool {
	set := make(map[string]bool)
	for _, name := range slices.Concat(lists...) {
		set[name] = true
	}
	return set
}

func without(names []string, unwanted map[string]bool) []string {
	rest := []string{}
	for _, name := range names {
		if !unwanted[name] {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	return slices.Compact(rest)
}

// fold returns the letters and digits of a name, in lower case, to compare names without letter case and signs.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // the upper case turns ſ into an s
	}, name)
}

// folded are names by their folds.
type folded map[string][]string

func foldAll(names []string) folded {
	f := make(folded, len(names))
	for _, name := range names {
		if key := fold(name); key != "" {
			f[key] = append(f[key], name)
		}
	}
	return f
}

// similar returns the names with the fold of one of these, sorted.
func (f folded) similar(names ...string) []string {
	found := []string{}
	for _, name := range names {
		found = append(found, f[fold(name)]...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}
