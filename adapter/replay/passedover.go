package replay

import (
	"cmp"
	"slices"
)

// maxPassedOver limits the objects that are named for a reason.
const maxPassedOver = 3

// PassedOver are the objects that were not read for one reason.
type PassedOver struct {
	Reason  string `json:"reason"` // a text
	Objects int64  `json:"objects"`
	// First are the keys of the first three.
	First []string `json:"first"`
}

// AddPassedOver adds an object that was not read. The reasons are those of the archive package.
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

// SetPassedOver sets the objects of the report that were not read, the most frequent reason first.
func (r *Report) SetPassedOver(list []PassedOver) {
	r.PassedOver = 0
	for _, p := range list {
		r.PassedOver += p.Objects
	}
	r.PassedOverFor = slices.SortedStableFunc(slices.Values(list), func(a, b PassedOver) int {
		return cmp.Compare(b.Objects, a.Objects)
	})
}
