package archive

// OfEntries is the suffix of the Version of an object that is read as entries of JSON values. A
// number of lines means nothing in such an object.
const OfEntries = "+entries"

// cutter cuts a text into blocks.
type cutter interface {
	// split returns the next block. Only the last comes with an error, which is io.EOF at the end of
	// the text.
	split() (*Block, error)
	// last returns the number of the last line of the blocks so far.
	last() int64
}

// entrySplitter cuts JSON values into blocks of entries, each on a line of its own.
type entrySplitter struct {
	values *values
	after  int64 // entries up to this number are left out
	prompt bool
	count  int64  // how many entries came before
	taken  int64  // how much of the text the blocks so far stand for
	held   []byte // an entry that is in no block yet
}

func (s *entrySplitter) last() int64 { return s.count }

func (s *entrySplitter) split() (*Block, error) {
	b := newBlock()
	b.FirstLine = s.count + 1
	if s.held != nil {
		s.add(b, s.held)
		s.held = nil
	}
	for len(b.buffer) < BlockSize && b.Count < BlockLines {
		entry, err := s.values.next()
		if err != nil {
			return s.end(b), err
		}
		switch {
		case s.count < s.after:
			s.count++
			b.FirstLine = s.count + 1
		case entry == nil:
			s.count++
			b.Count++
			b.tooLong = true
			return s.end(b), nil
		case len(b.buffer) > 0 && len(b.buffer)+len(entry) >= BlockSize:
			s.held = entry // is valid until the next one
			return s.end(b), nil
		default:
			s.add(b, entry)
		}
		if s.prompt && b.Count > 0 && s.values.drained() {
			break
		}
	}
	return s.end(b), nil
}

func (s *entrySplitter) add(b *Block, entry []byte) {
	b.buffer = append(append(b.buffer, entry...), '\n')
	s.count++
	b.Count++
}

func (s *entrySplitter) end(b *Block) *Block {
	b.Data = b.buffer
	b.Bytes = s.values.offset() - s.taken
	s.taken += b.Bytes
	return b
}
