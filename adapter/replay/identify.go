package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Identify selects the identify calls of an archive that are replayed.
type Identify string

const (
	// IdentifyMerged sends one call for each user: the newest by its own time, with the traits of all calls of
	// the user (M25). It reads the archive twice.
	IdentifyMerged Identify = "merged"
	// IdentifyNewest sends the newest call of each user unchanged. It reads the archive twice.
	IdentifyNewest Identify = "newest"
	// IdentifyAll sends all calls, in the order of the archive. That is not the order of the calls.
	IdentifyAll Identify = "all"
	// IdentifyNone sends no identify call.
	IdentifyNone Identify = "none"
)

// chooses reports whether an extra reading of the archive chooses among the calls of a user.
func (i Identify) chooses() bool { return i == IdentifyMerged || i == IdentifyNewest }

// Chosen are the identify calls of an archive to send, with the traits to add to each. A temporary file holds them
// if they do not fit in memory.
type Chosen struct {
	seeds [2]maphash.Seed
	// objects are those of the first reading, by key.
	objects map[string]*readObject
	// byPlace has a choice for each user, in the order of the archive.
	byPlace *sorter
	stream  *choiceStream // nil before the first look
}

// readObject is an object of the first reading.
type readObject struct {
	number  uint64 // in the order of the archive
	version string
	lines   int64
}

// ChooseIdentify reads the blocks and chooses the identify call of each user to send, among those that the filter
// selects. It chooses the newest call by its own time. Of several calls with the same time it is the last one in
// the order of the archive. A call without a time is older than any other. The mapping's accountId and userId tell
// users apart; a numeric id is its literal text.
//
// The calls take about twice opts.Memory, whatever their number. The rest goes to a temporary file: the traits and
// 51 bytes a call, then for the choices 39 bytes a user, 8 bytes a call and the traits of all but the newest call.
// Only the owner can read the file. It has no name, so it disappears with the process. Its errors are of type
// *TemporaryFileError. The caller must close Chosen.
func ChooseIdentify(ctx context.Context, spec *Spec, blocks Blocks, opts Options) (*Chosen, error) {
	opts = opts.WithDefaults()
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

// Close releases memory and disk.
func (c *Chosen) Close() { c.byPlace.close() }

// userKey is a hash of a user. Two users share one about never.
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

// messageHash returns a hash of a messageId, unique among those of one user; 0 without a messageId. It hashes the
// text that the ledger stores.
func (c *Chosen) messageHash(messageID string) uint64 {
	if messageID == "" {
		return 0
	}
	return maphash.String(c.seeds[0], adapter.StoredText(messageID))
}

// The key of a gathered call is its user and its age, so that the calls of a user are adjacent, the newest first.
const (
	ageSize   = 1 + 8 + placeSize
	callSize  = len(userKey{}) + ageSize
	placeSize = 8 + 8 // the object and the line
)

// appendPlace appends the place of a line. Places sort in the order of the archive.
func appendPlace(dst []byte, object uint64, line int64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, object)
	return binary.BigEndian.AppendUint64(dst, uint64(line))
}

// appendAge appends the age of a call. A newer call sorts first.
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

func placeOf(key []byte) (place [placeSize]byte) {
	for i, b := range key[callSize-placeSize:] {
		place[i] = ^b
	}
	return place
}

// gather adds the identify calls of a block to calls, with their traits if they are to be merged.
func (c *Chosen) gather(b *mappedBlock, calls *sorter, merge bool) error {
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
		traits := e.traits
		if !merge {
			traits = nil
		}
		if err := calls.add(key, hash[:], traits); err != nil {
			return err
		}
	}
	return nil
}

// choose makes the choice for each user from its calls, the newest first.
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
	// maxAddedTraits limits the traits that the newest call of a user gets, in bytes.
	maxAddedTraits = 1 << 20
	// maxCallHashes limits the calls of a user that are recognized in the ledger, to the newest ones.
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
	cut     bool                // a trait beyond maxAddedTraits was left out
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

// choice returns the parts of the user's record.
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

// choice is the call of a user to send.
type choice struct {
	object  uint64
	line    int64
	user    userKey
	cut     bool
	added   []byte // members to add to its traits, each behind a comma
	hashes  []byte // of the messageIds of the user's calls, 8 bytes each
	unnamed bool   // one of the calls has no messageId
}

func parseChoice(key, value []byte) choice {
	c := choice{
		object: binary.BigEndian.Uint64(key), line: int64(binary.BigEndian.Uint64(key[8:])), user: userKey(value),
	}
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
	passed  [placeSize]byte // all places before it are behind the stream
	next    choice
	more    bool
}

// of returns the choices among the lines of a block, and the last line of the object in the first reading. Blocks
// must come in their order.
func (c *Chosen) of(b *mappedBlock) (found []choice, seen int64, err error) {
	object := c.objects[b.Object.Key]
	if object == nil || object.version != b.Object.Version {
		return nil, 0, nil // it is new, or has changed
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
	if s.more = ok; ok {
		s.next = parseChoice(key, value)
	}
	return err
}

// between returns the choices among the lines from first to last of the object.
func (s *choiceStream) between(object uint64, first, last int64) (found []choice, err error) {
	for s.more && (s.next.object < object || s.next.object == object && s.next.line <= last) {
		if s.next.object == object && s.next.line >= first {
			found = append(found, s.next)
		}
		if err := s.advance(); err != nil {
			return nil, err
		}
	}
	appendPlace(s.passed[:0], object, last+1)
	return found, nil
}
