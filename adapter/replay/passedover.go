package replay

import (
	"cmp"
	"slices"
)

// maxPassedOver is how many objects of a reason are named.
const maxPassedOver = 3

// PassedOver is the objects that were not read for one reason.
type PassedOver struct {
	// Reason says why, in words.
	Reason  string `json:"reason"`
	Objects int64  `json:"objects"`
	// First are the first of them, three at most.
	First []string `json:"first"`
}

// AddPassedOver adds an object to those that were passed over. There are as many
// reasons as the archive package has.
func AddPassedOver(list []PassedOver, key, reason string) []PassedOver {
	i := slices.IndexFunc(list, func(p PassedOver) bool { return p.Reason == reason })
	if i < 0 {
		i = len(list)
		list = append(list, PassedOver{Reason: reason})
	}
	list[i].Objects++
	if len(list[i].First) < maxPassedOver {
		list[i].First = append(list[i].First, key)
	}
	return list
}

// SetPassedOver puts what was passed over into the report, the most frequent reason
// first.
func (r *Report) SetPassedOver(list []PassedOver) {
	r.PassedOver = 0
	for _, p := range list {
		r.PassedOver += p.Objects
	}
	r.PassedOverFor = slices.SortedStableFunc(slices.Values(list), func(a, b PassedOver) int {
		return cmp.Compare(b.Objects, a.Objects)
	})
}
