package archive

import (
	"bytes"
	"iter"
	"sync"
)

const (
	// MaxLine bounds a line's text, in bytes. Segment takes events of 32 KB at most,
	// so what is longer is no event.
	MaxLine = 10 << 20
	// BlockSize is how large blocks are, in bytes; a longer line has a block of its
	// own size.
	BlockSize = 256 << 10
	// BlockLines is how many lines a block has at most, because a consumer keeps more for
	// a line than its text. Blocks of lines of 128 bytes and more are full before. Segment's
	// events have several hundred.
	BlockLines = 2048
)

// Block is some complete lines of one object. Its bytes are valid until it is
// released. In an object that has entries instead of lines, an entry is a line.
type Block struct {
	Object Object
	// FirstLine is the number of the first line, counted from 1 in the whole object.
	FirstLine int64
	// Count is how many lines there are, blank ones too.
	Count int64
	// Data is the lines as they stand in the object, or the entries, with their ends. A
	// line that is longer than MaxLine is left out, and is the last of its block.
	Data []byte
	// Bytes is how much of the object's text the block stands for. That is more than
	// len(Data) for lines that were left out, and those that were skipped before it.
	Bytes int64
	// Stored is how much of the object as it is stored was read for the block, in
	// bytes. Together the blocks of an object come to Object.Size, unless it is
	// damaged, or a cloud's client unpacks it on its way: then it is more.
	Stored int64
	// End says that this is the object's last block. Every object that is not
	// skipped has one.
	End bool
	// Err is the *ObjectError for which the object ends here, nil if it is read to
	// its end.
	Err error

	tooLong bool // there is one more line, which is longer than MaxLine
	buffer  []byte
}

// Line is one line of a block.
type Line struct {
	// Number is counted from 1 in the whole object, blank lines included.
	Number int64
	// Text is the line without its end, or the event in a line of `deliveries export`. It
	// is valid until the block is released, and nil if the line is TooLong.
	Text []byte
	// TooLong says that the line has more than MaxLine bytes.
	TooLong bool
}

// Lines yields the lines that are not blank. A line ends in LF or CRLF; the last
// line of an object may have no end.
func (b *Block) Lines() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		number := b.FirstLine
		for rest := b.Data; len(rest) > 0; number++ {
			text := rest
			if i := bytes.IndexByte(rest, '\n'); i >= 0 {
				text, rest = rest[:i:i], rest[i+1:]
			} else {
				rest = nil
			}
			if n := len(text); n > 0 && text[n-1] == '\r' {
				text = text[: n-1 : n-1]
			}
			if isBlank(text) {
				continue
			}
			line := Line{Number: number, TooLong: true}
			if len(text) <= MaxLine {
				line = Line{Number: number, Text: eventOf(text)}
			}
			if !yield(line) {
				return
			}
		}
		if b.tooLong {
			yield(Line{Number: number, TooLong: true})
		}
	}
}

func isBlank(text []byte) bool {
	return len(text) == 0 || text[0] <= ' ' && len(bytes.TrimSpace(text)) == 0
}

var blocks = sync.Pool{New: func() any { return &Block{buffer: make([]byte, 0, BlockSize)} }}

func newBlock() *Block { return blocks.Get().(*Block) }

// Release gives the block's memory back, so that it is used again. Neither the block
// nor its lines may be used after it. A block that is not released costs an
// allocation, and nothing else.
func (b *Block) Release() {
	if cap(b.buffer) != BlockSize {
		return
	}
	*b = Block{buffer: b.buffer[:0]}
	blocks.Put(b)
}
