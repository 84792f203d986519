package migratecheck

import (
	"slices"
	"strings"
	"unicode"
)

// fold returns what is left of a name that is to be compared without letter case
// and signs: its letters and digits, in lower case.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // such as ſ, which is an s
	}, name)
}

// folded finds names by what fold leaves of them.
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

// similar returns the names that are the same as one of these but for letter case
// and signs, sorted.
func (f folded) similar(names ...string) []string {
	found := []string{}
	for _, name := range names {
		found = append(found, f[fold(name)]...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}
