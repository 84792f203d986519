package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// messageIndex finds deliveries by messageId. MessageIds are in no order. With a database index, every accepted event
// would change a page of its own, and that costs more than the rest of accepting it. So the newest ids stay in
// memory, and move to the table messages many at a time, in the order of their hashes. After a restart they are read
// from the rows themselves: those after the id counter.indexed_id.
//
// It finds candidates: the rows decide.
type messageIndex struct {
	// limit is the number of ids in memory that starts a move to the table.
	limit int

	mu sync.Mutex
	// recent are the newest ids. frozen are the ids that are moving to the table, nil if none are.
	recent, frozen *messageSet
	// loaded is the next id at the time when the newest ids were read, 0 before that. merged is the id up to which
	// the table then had them.
	loaded, merged int64
}

// messagesInMemory ids take about 5 MB. Reading them takes a third of a second at the start.
const messagesInMemory = 1 << 16

// messageSet is a set of ids by the hash of their messageId.
type messageSet struct {
	first map[int64]int64   // by hash
	more  map[int64][]int64 // further ids of the same hash
	last  int64             // the highest id
}

func newMessageSet() *messageSet {
	return &messageSet{first: make(map[int64]int64), more: make(map[int64][]int64)}
}

// entry is one id with the hash of its messageId.
type entry struct{ hash, id int64 }

func (s *messageSet) add(e entry) {
	s.last = max(s.last, e.id)
	if _, taken := s.first[e.hash]; taken {
		s.more[e.hash] = append(s.more[e.hash], e.id)
	} else {
		s.first[e.hash] = e.id
	}
}

// find appends the ids with the hash. A nil set has none.
func (s *messageSet) find(hash int64, ids []int64) []int64 {
	if s == nil {
		return ids
	}
	if id, ok := s.first[hash]; ok {
		ids = append(append(ids, id), s.more[hash]...)
	}
	return ids
}

// after returns a set of the entries after an id.
func (s *messageSet) after(id int64) *messageSet {
	later := newMessageSet()
	for e := range s.all() {
		if e.id > id {
			later.add(e)
		}
	}
	return later
}

// all returns the entries in no order.
func (s *messageSet) all() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for hash, id := range s.first {
			if !yield(entry{hash, id}) {
				return
			}
		}
		for hash, ids := range s.more {
			for _, id := range ids {
				if !yield(entry{hash, id}) {
					return
				}
			}
		}
	}
}

// sorted returns the entries in the order of the table.
func (s *messageSet) sorted() []entry {
	return slices.SortedFunc(s.all(), func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.id, b.id))
	})
}

// add adds entries whose rows are on disk.
func (m *messageIndex) add(more *messageSet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := range more.all() {
		m.recent.add(e)
	}
}

// inMemory returns the ids that are not in the table yet. Some may be in the table already.
func (m *messageIndex) inMemory(hash int64) []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.frozen.find(hash, m.recent.find(hash, nil))
}

// unread returns the id after which ids were not read from their rows. Ids up to indexed are in the table and leave
// the memory.
func (m *messageIndex) unread(indexed int64) (after int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded > 0 && indexed > m.merged { // another process has moved them
		m.recent = m.recent.after(indexed)
	}
	m.merged = max(m.merged, indexed)
	return max(m.merged, m.loaded-1)
}

// addRead adds entries that were read from their rows, all before the id next.
func (m *messageIndex) addRead(entries []entry, next int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if e.id >= m.loaded { // otherwise another caller was faster
			m.recent.add(e)
		}
	}
	m.loaded = max(m.loaded, next)
}

// freeze returns the ids to move to the table, nil if there are too few.
func (m *messageIndex) freeze() *messageSet {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.frozen == nil && len(m.recent.first) >= m.limit {
		m.frozen, m.recent = m.recent, newMessageSet()
	}
	return m.frozen
}

func (m *messageIndex) thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = nil
}

// loadMessages reads the messageIds of events that were accepted since its last call and are not in the table. Beside
// another process it precedes each use of the index.
func (e *sqliteEngine) loadMessages(ctx context.Context, tx *sql.Tx) (err error) {
	var indexed, next int64
	if err := tx.QueryRowContext(ctx, `SELECT indexed_id, next_id FROM counter`).Scan(&indexed, &next); err != nil {
		return fmt.Errorf("read the newest messageIds: %w", err)
	}
	after := e.messages.unread(indexed)
	if after >= next-1 {
		return nil
	}
	var read []entry
	var id int64
	var messageID string
	rows, err := tx.QueryContext(ctx, `SELECT id, message_id FROM queue WHERE id > ?1 AND message_id <> ''
		UNION ALL SELECT id, message_id FROM deliveries WHERE id > ?1 AND message_id <> ''`, after)
	err = eachRow(rows, err, func() { read = append(read, entry{textHash(messageID), id}) }, &id, &messageID)
	if err != nil {
		return fmt.Errorf("read the newest messageIds: %w", err)
	}
	e.messages.addRead(read, next)
	return nil
}

// mergeRows is the number of entries that one transaction moves to the table.
const mergeRows = 1024

// mergeMessages moves the ids in memory to the table if there are enough of them.
func (e *sqliteEngine) mergeMessages(ctx context.Context) error {
	frozen := e.messages.freeze()
	if frozen == nil {
		return nil
	}
	for part := range slices.Chunk(frozen.sorted(), mergeRows) {
		if err := e.write(ctx, func(tx *sql.Tx) error { return insertMessages(ctx, tx, part) }); err != nil {
			return fmt.Errorf("index messageIds: %w", err)
		}
	}
	err := e.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE counter SET indexed_id = ?1`, frozen.last)
		return err
	})
	if err != nil {
		return fmt.Errorf("index messageIds: %w", err)
	}
	e.messages.thaw()
	return nil
}

// insertRows is the number of entries that one statement inserts.
const insertRows = 64

func insertMessages(ctx context.Context, tx *sql.Tx, entries []entry) (err error) {
	// An interrupted merge has left some of them.
	const insertSQL = `INSERT OR IGNORE INTO messages (hash, delivery) VALUES `
	insert, err := tx.PrepareContext(ctx, insertSQL+repeat(`(?, ?)`, insertRows))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	args := make([]any, 0, 2*insertRows)
	for part := range slices.Chunk(entries, insertRows) {
		args = args[:0]
		for _, e := range part {
			args = append(args, e.hash, e.id)
		}
		if len(part) == insertRows {
			_, err = insert.Exec(args...)
		} else {
			_, err = tx.ExecContext(ctx, insertSQL+repeat(`(?, ?)`, len(part)), args...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refresh reads the newest messageIds again if another process may have accepted events.
func (e *sqliteEngine) refresh(ctx context.Context, tx *sql.Tx) error {
	if !e.shared {
		return nil
	}
	return e.loadMessages(ctx, tx)
}

// candidates returns the deliveries that may have the messageId.
func (e *sqliteEngine) candidates(ctx context.Context, tx *sql.Tx, messageID string) (ids []int64, err error) {
	if err := e.refresh(ctx, tx); err != nil {
		return nil, err
	}
	hash := textHash(messageID)
	ids = e.messages.inMemory(hash)
	rows, err := tx.QueryContext(ctx, `SELECT delivery FROM messages WHERE hash = ?1`, hash)
	onDisk, err := column[int64](rows, err)
	return append(ids, onDisk...), err
}

// byMessage returns the condition that picks the deliveries with the messageId.
func (e *sqliteEngine) byMessage(
	ctx context.Context, tx *sql.Tx, messageID string,
) (clause string, args []any, err error) {
	ids, err := e.candidates(ctx, tx, messageID)
	return "message_id = ? AND id IN " + numberList(ids), []any{messageID}, err
}

// sameEventSQL selects whether a candidate makes an event a duplicate. A candidate may also have one of the former
// body hashes.
func sameEventSQL(candidates, former []int64) string {
	same := ` WHERE id IN ` + numberList(candidates) + ` AND tenant = ?1 AND message_id = ?3 AND (body_hash = ?2`
	if len(former) > 0 {
		same += ` OR body_hash IN ` + numberList(former)
	}
	same += `)`
	return `SELECT EXISTS (SELECT 1 FROM queue` + same +
		`), EXISTS (SELECT 1 FROM deliveries` + same + ` AND outcome IN (1, 2))`
}

// hashList returns a body hash, which may be nil, as a list.
func hashList(hash any) []int64 {
	if hash == nil {
		return nil
	}
	return []int64{hash.(int64)}
}

// forget removes deleted deliveries from the table. They stay in memory, where without rows they match nothing.
func (e *sqliteEngine) forget(ctx context.Context, tx *sql.Tx, removed []removedMessage) (err error) {
	if len(removed) == 0 {
		return nil
	}
	statement, err := tx.PrepareContext(ctx, `DELETE FROM messages WHERE hash = ?1 AND delivery = ?2`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, statement.Close()) }()
	for _, r := range removed {
		if _, err := statement.ExecContext(ctx, textHash(r.messageID), r.id); err != nil {
			return err
		}
	}
	return nil
}
