package migratecheck

import (
	"slices"
	"strings"
	"unicode"
)

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
