package replay

import (
	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
)

// Resume tells how far the objects of an archive have been read by the run that
// got so far with them. Of an object that has changed since, nothing has: what it
// holds may stand elsewhere in it by now, and what was delivered is a duplicate. Nor
// has any of an object that has entries, if a run counted its lines.
// Standard input is read again from its start, and passed over as far as it was.
func Resume(objects []adapter.ObjectProgress) func(archive.Object) (afterLine int64, done bool) {
	byKey := make(map[string]*adapter.ObjectProgress, len(objects))
	for i := range objects {
		byKey[objects[i].Object] = &objects[i]
	}
	return func(o archive.Object) (int64, bool) {
		was := byKey[o.Key]
		switch {
		case was == nil, o.Key == stdinKey:
			return 0, false
		case was.Version == o.Version:
			return was.Lines, was.Done
		}
		// That an object has entries shows only when it is read.
		return 0, was.Done && was.Version == o.Version+archive.OfEntries
	}
}
