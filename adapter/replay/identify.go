package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Identify says which identify calls of an archive are replayed.
type Identify string

const (
	// IdentifyMerged replays one call of each user: the newest by its own time, with
	// the traits of all of them (M25). It reads the archive twice.
	IdentifyMerged Identify = "merged"
	// IdentifyNewest replays the newest of each user as it is. It reads the archive
	// twice.
	IdentifyNewest Identify = "newest"
	// IdentifyAll replays all of them, in the order of the archive, which is not that
	// of the calls.
	IdentifyAll Identify = "all"
	// IdentifyNone leaves them out.
	IdentifyNone Identify = "none"
)

// chooses reports whether the archive is read once to choose among the calls of a user.
func (i Identify) chooses() bool { return i == IdentifyMerged || i == IdentifyNewest }

// Chosen knows which identify calls of an archive to send, and the traits to add to
// each. What does not fit in memory is in a temporary file.
type Chosen struct {
	seeds [2]maphash.Seed
	// objects are those of the first reading, by key.
	objects map[string]*readObject
	// byPlace has a choice for each user, in the order of the archive.
	byPlace *sorter
	stream  *choiceStream // nil before the first look
}

// readObject is how far the first reading came with an object.
type readObject struct {
	number  uint64 // in the order of the archive
	version string
	lines   int64
}

// ChooseIdentify reads the blocks and chooses the identify call of each user that is
// to be sent, among those that the filter picks. The newest is chosen, by its own
// time. Of several with the same time it is the last in the order of the archive; one
// without a time is older than any other. Users are those of the mapping: the accountId
// and the userId, of which a number is its literal text.
//
// However many calls there are, they take about twice opts.Memory. What is beyond it
// goes to a temporary file, of the size of their traits and 51 bytes a call, and for
// the choices 39 bytes a user, 8 bytes a call and the traits of all but the newest. The
// file is readable by its owner only and has no name, so nothing is left of it however
// the process ends. An error of it is a *TemporaryFileError. Chosen has to be closed.
func ChooseIdentify(ctx context.Context, spec *Spec, blocks Blocks, opts Options) (*Chosen, error) {
	opts = opts.withDefaults()
	c := &Chosen{
		seeds:   [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		objects: make(map[string]*readObject),
		byPlace: newSorter(opts.Dir, placeSize, opts.Memory/2),
	}
	calls := newSorter(opts.Dir, callSize, opts.Memory)
	defer calls.close()
	opts.Chosen = nil
	p := opts.newPipeline(spec, blocks)
	p.gathers = true
	filter := p.selects
	p.selects = opts.Users.marking(func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		if !c.IsIdentify() {
			return mapping.KindSkip, mapping.SkipUnsupportedType, ""
		}
		return filter(c)
	})
	err := p.run(ctx, func(_ context.Context, b *mappedBlock) error {
		opts.Progress.update(func(s *Snapshot) {
			s.Object, s.Job = b.Object.Key, "reads the identify calls"
			s.Bytes += b.Stored
		})
		return c.gather(b, calls, spec.Identify == IdentifyMerged)
	})
	opts.Progress.update(func(s *Snapshot) { *s = Snapshot{Job: "merges the identify calls"} })
	if err == nil {
		err = c.choose(ctx, calls)
	}
	opts.Progress.update(func(s *Snapshot) { *s = Snapshot{} })
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close gives memory and disk back.
func (c *Chosen) Close() { c.byPlace.close() }

// userKey stands for a user; two users share one about never.
type userKey [16]byte

func (c *Chosen) user(upsert *mapping.UserUpsert) (key userKey) {
	for i, seed := range c.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		_, _ = h.WriteString(upsert.AccountID)
		_ = h.WriteByte(0) // which no id has
		_, _ = h.WriteString(upsert.UserID)
		binary.BigEndian.PutUint64(key[8*i:], h.Sum64())
	}
	return key
}

// messageHash stands for a messageId among those of one user, 0 if there is none. The
// ledger compares messageIds as it stores them.
func (c *Chosen) messageHash(messageID string) uint64 {
	if messageID == "" {
		return 0
	}
	return maphash.String(c.seeds[0], adapter.StoredText(messageID))
}

// A gathered call is a record with the user and the call's age as its key, so that
// the calls of a user follow each other, the newest first.
const (
	ageSize   = 1 + 8 + placeSize
	callSize  = len(userKey{}) + ageSize
	placeSize = 8 + 8 // the object and the line
)

// appendPlace appends the place of a line in the archive. Places are in the order of
// the archive.
func appendPlace(dst []byte, object uint64, line int64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, object)
	return binary.BigEndian.AppendUint64(dst, uint64(line))
}

// appendAge appends what is the less the newer a call is.
func appendAge(dst []byte, e *event, object uint64) []byte {
	at := len(dst)
	if e.timed {
		dst = append(dst, 1)
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.millis)^1<<63) // in the order of the times
	} else {
		dst = append(dst, make([]byte, 9)...)
	}
	dst = appendPlace(dst, object, e.line)
	for i := at; i < len(dst); i++ {
		dst[i] = ^dst[i]
	}
	return dst
}

// placeOf returns the place in the key of a gathered call.
func placeOf(key []byte) (place [placeSize]byte) {
	for i, b := range key[callSize-placeSize:] {
		place[i] = ^b
	}
	return place
}

// gather keeps the identify calls of a block.
func (c *Chosen) gather(b *mappedBlock, calls *sorter, traits bool) error {
	object := c.objects[b.Object.Key]
	if object == nil {
		object = &readObject{number: uint64(len(c.objects)), version: b.Object.Version}
		c.objects[b.Object.Key] = object
	}
	object.lines = max(object.lines, b.last())
	var buf [callSize]byte
	var hash [8]byte
	for i := range b.events {
		e := &b.events[i]
		if e.mapped.Kind != mapping.KindUserUpsert {
			continue
		}
		user := c.user(&e.mapped.Upserts[0])
		key := appendAge(append(buf[:0], user[:]...), e, object.number)
		binary.BigEndian.PutUint64(hash[:], c.messageHash(e.mapped.MessageID))
		var err error
		if traits {
			err = calls.add(key, hash[:], e.traits)
		} else {
			err = calls.add(key, hash[:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// choose goes through the calls of each user, the newest first.
func (c *Chosen) choose(ctx context.Context, calls *sorter) error {
	all, err := calls.sorted()
	if err != nil {
		return err
	}
	var of chosenUser
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key, value, ok, err := all.read()
		if err != nil {
			return err
		}
		if of.known && (!ok || !bytes.Equal(of.user[:], key[:len(of.user)])) {
			if err := c.byPlace.add(of.place[:], of.choice()...); err != nil {
				return err
			}
			of.forget()
		}
		if !ok {
			return nil
		}
		of.add(key, value)
	}
}

const (
	// maxAddedTraits bounds what is added to the newest call of a user, in bytes.
	maxAddedTraits = 1 << 20
	// maxCallHashes bounds how many calls of a user are told from other calls of the
	// ledger: the newest ones.
	maxCallHashes = 1024
)

// chosenUser merges the calls of one user.
type chosenUser struct {
	known bool
	user  userKey
	place [placeSize]byte // of the newest call
	// newest is a copy of the newest call's traits, until there is another call.
	newest  []byte
	names   map[string]struct{} // of the traits so far, nil before the second call
	added   []byte              // members of older calls, each behind a comma
	cut     bool                // a trait was left out, since there is too much
	hashes  []byte
	unnamed bool // a call has no messageId
}

func (u *chosenUser) add(key, value []byte) {
	hash, traits := value[:8], value[8:]
	switch {
	case binary.BigEndian.Uint64(hash) == 0:
		u.unnamed = true
	case len(u.hashes) < 8*maxCallHashes:
		u.hashes = append(u.hashes, hash...)
	}
	if !u.known {
		u.known, u.user, u.place = true, userKey(key), placeOf(key)
		u.newest = append(u.newest[:0], traits...)
		return
	}
	if len(traits) == 0 {
		return
	}
	if u.names == nil {
		u.names = make(map[string]struct{})
		mapping.EachMember(u.newest, func(name, _, _ []byte) bool {
			u.names[string(name)] = struct{}{}
			return true
		})
	}
	mapping.EachMember(traits, func(name, quoted, value []byte) bool {
		if _, newer := u.names[string(name)]; newer {
			return true
		}
		if len(u.added)+len(quoted)+len(value)+2 > maxAddedTraits {
			u.cut = true
			return true
		}
		u.names[string(name)] = struct{}{}
		u.added = append(append(append(append(u.added, ','), quoted...), ':'), value...)
		return true
	})
}

// choice returns the parts of the record of the user's choice.
func (u *chosenUser) choice() [][]byte {
	head := make([]byte, 0, len(u.user)+1+4)
	head = append(head, u.user[:]...)
	flags := byte(0)
	if u.cut {
		flags |= choiceCut
	}
	if u.unnamed {
		flags |= choiceUnnamed
	}
	head = append(head, flags)
	head = binary.BigEndian.AppendUint32(head, uint32(len(u.hashes)))
	return [][]byte{head, u.hashes, u.added}
}

const (
	choiceCut = 1 << iota
	choiceUnnamed
)

func (u *chosenUser) forget() {
	*u = chosenUser{newest: u.newest[:0], added: u.added[:0], hashes: u.hashes[:0]}
	if cap(u.newest) > keptValue {
		u.newest = nil
	}
}

// choice is the call of a user that is sent.
type choice struct {
	line    int64
	user    userKey
	cut     bool
	added   []byte // members to add to its traits, each behind a comma
	hashes  []byte // of the messageIds of the user's calls, 8 bytes each
	unnamed bool   // one of the calls has no messageId
}

func parseChoice(key, value []byte) choice {
	c := choice{line: int64(binary.BigEndian.Uint64(key[8:])), user: userKey(value)}
	value = value[len(c.user):]
	c.cut, c.unnamed = value[0]&choiceCut != 0, value[0]&choiceUnnamed != 0
	hashes := binary.BigEndian.Uint32(value[1:])
	rest := bytes.Clone(value[5:])
	c.hashes, c.added = rest[:hashes:hashes], rest[hashes:]
	return c
}

// choiceStream reads the choices in the order of the archive.
type choiceStream struct {
	records *sortedRecords
	passed  [placeSize]byte // nothing before it is to come
	next    choice
	object  uint64
	more    bool
}

// of returns the choices among the lines of a block, and up to which line the first
// reading saw the object. It is called with the blocks in their order.
func (c *Chosen) of(b *mappedBlock) (found []choice, seen int64, err error) {
	object := c.objects[b.Object.Key]
	if object == nil || object.version != b.Object.Version {
		return nil, 0, nil // it is new, or another
	}
	var from [placeSize]byte
	appendPlace(from[:0], object.number, b.FirstLine)
	if c.stream == nil || bytes.Compare(from[:], c.stream.passed[:]) < 0 {
		records, err := c.byPlace.sorted()
		if err != nil {
			return nil, 0, err
		}
		c.stream = &choiceStream{records: records}
		if err := c.stream.advance(); err != nil {
			return nil, 0, err
		}
	}
	found, err = c.stream.between(object.number, b.FirstLine, b.last())
	return found, object.lines, err
}

func (s *choiceStream) advance() error {
	key, value, ok, err := s.records.read()
	if s.more = ok; !ok || err != nil {
		return err
	}
	s.object, s.next = binary.BigEndian.Uint64(key), parseChoice(key, value)
	return nil
}

// between returns the choices among the lines from first to last of the object.
func (s *choiceStream) between(object uint64, first, last int64) (found []choice, err error) {
	for s.more && (s.object < object || s.object == object && s.next.line <= last) {
		if s.object == object && s.next.line >= first {
			found = append(found, s.next)
		}
		if err := s.advance(); err != nil {
			return nil, err
		}
	}
	appendPlace(s.passed[:0], object, last+1)
	return found, nil
}
