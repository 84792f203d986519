package config

import "strings"

// longestName is the length above which a name is near no other. It bounds the time of a comparison.
const longestName = 40

// nearest returns the known name that needs the fewest edits, ignoring case, or "" if all of them are far.
func nearest(name string, known []string) string {
	if len(name) > longestName {
		return ""
	}
	name = strings.ToLower(name)
	best, fewest := "", 1+min(3, 1+len(name)/4)
	for _, candidate := range known {
		if edits := distance(name, candidate); edits < fewest {
			best, fewest = candidate, edits
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between two names (optimal string
// alignment).
func distance(a, b string) int {
	before, previous, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, previous, row = previous, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := previous[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(previous[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
