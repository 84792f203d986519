package replay

import (
	"context"
	"errors"
	"hash/maphash"

	"segment-saasquatch/mapping"
)

// Identify says which identify calls of an archive are replayed.
type Identify string

const (
	// IdentifyNewest replays the newest of each user, by its own time, so that old
	// profiles never overwrite newer ones. It reads the archive twice.
	IdentifyNewest Identify = "newest"
	// IdentifyAll replays all of them, in the order of the archive, which is not that
	// of the calls.
	IdentifyAll Identify = "all"
	// IdentifyNone leaves them out.
	IdentifyNone Identify = "none"
)

// Newest knows the newest identify call of each user. It takes about 100 bytes a
// user.
type Newest struct {
	seed  maphash.Seed
	users map[userKey]identifyAt
}

// userKey stands for a user; two users share one about never.
type userKey [2]uint64

// identifyAt is when an identify call was made, and where it stands.
type identifyAt struct {
	millis int64
	timed  bool
	object uint64
	line   int64
}

// FindNewest reads the blocks and finds the newest identify call of each user
// among those that the filter picks. Of several with the same time it is the last
// in the order of the archive; one without a time is older than any other.
func FindNewest(ctx context.Context, spec *Spec, blocks Blocks, opts Options) (*Newest, error) {
	opts = opts.withDefaults()
	n := &Newest{seed: maphash.MakeSeed(), users: make(map[userKey]identifyAt)}
	p := opts.newPipeline(spec, blocks)
	filter := p.selects
	p.selects = func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		if !c.IsIdentify() {
			return mapping.KindSkip, mapping.SkipUnsupportedType, ""
		}
		return filter(c)
	}
	err := p.run(ctx, func(_ context.Context, b *mappedBlock) error {
		for i := range b.events {
			if upserts := b.events[i].mapped.Upserts; len(upserts) > 0 {
				n.add(b, &b.events[i])
			}
		}
		opts.Progress.update(func(s *Snapshot) {
			s.Object, s.Job = b.Object.Key, "looks for the newest identify calls"
			s.Bytes += b.Stored
		})
		return nil
	})
	opts.Progress.update(func(s *Snapshot) { *s = Snapshot{} })
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return n, err
}

func (n *Newest) key(upsert *mapping.UserUpsert) userKey {
	var h maphash.Hash
	h.SetSeed(n.seed)
	_, _ = h.WriteString(upsert.AccountID)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(upsert.UserID)
	first := h.Sum64()
	_ = h.WriteByte(1)
	return userKey{first, h.Sum64()}
}

func (n *Newest) place(b *mappedBlock, e *event) identifyAt {
	return identifyAt{
		millis: e.millis, timed: e.timed,
		object: maphash.String(n.seed, b.Object.Key), line: e.line,
	}
}

func (n *Newest) add(b *mappedBlock, e *event) {
	key, at := n.key(&e.mapped.Upserts[0]), n.place(b, e)
	known, ok := n.users[key]
	if !ok || at.timed && !known.timed || at.timed == known.timed && at.millis >= known.millis {
		n.users[key] = at
	}
}

// is reports whether the identify call is the newest of its user.
func (n *Newest) is(b *mappedBlock, e *event) bool {
	return n.users[n.key(&e.mapped.Upserts[0])] == n.place(b, e)
}

// superseded reports whether the event is an identify call that is not to be sent.
func (o *Options) superseded(b *mappedBlock, e *event) bool {
	return e.mapped.Kind == mapping.KindUserUpsert && o.Newest != nil && !o.Newest.is(b, e)
}
