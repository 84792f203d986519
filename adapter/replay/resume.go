package replay

import (
	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
)

// Resume returns how far a run has read each object, by the run's checkpoints. An object that has
// changed since is read again from its start, because its lines may have moved; events that were
// delivered are then duplicates. So is an object with entries if a run counted its lines.
// Standard input is always read from its start; the run skips the lines that it has stored.
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
		// Only reading shows that an object has entries.
		return 0, was.Done && was.Version == o.Version+archive.OfEntries
	}
}
