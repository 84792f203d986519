package replay

import (
	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
)

// Resume tells how far the objects of an archive have been read by the run that
// got so far with them. Of an object that has changed since, nothing has: what it
// holds may stand elsewhere in it by now, and what was delivered is a duplicate.
// Standard input is read again from its start, and passed over as far as it was.
func Resume(objects []adapter.ObjectProgress) func(archive.Object) (afterLine int64, done bool) {
	byKey := make(map[string]*adapter.ObjectProgress, len(objects))
	for i := range objects {
		byKey[objects[i].Object] = &objects[i]
	}
	return func(o archive.Object) (int64, bool) {
		was := byKey[o.Key]
		if was == nil || was.Version != o.Version || o.Key == stdinKey {
			return 0, false
		}
		return was.Lines, was.Done
	}
}
