package archive

import (
	"bytes"
	"iter"
	"sync"
)

const (
	// MaxLine bounds the text of a line, in bytes. Segment accepts events of up to 32 KB, so a longer
	// line is no event.
	MaxLine = 10 << 20
	// BlockSize is the size of a block in bytes. A longer line has a block of its own size.
	BlockSize = 256 << 10
	// BlockLines bounds the lines of a block, because a consumer keeps more for a line than its text.
	// Blocks of lines of 128 bytes and more fill up before. Segment's events have several hundred.
	BlockLines = 2048
)

// Block is some complete lines of one object. Its bytes are valid until it is
// released. In an object that has entries instead of lines, an entry is a line.
type Block struct {
	Object Object
	// FirstLine is the number of the first line, counted from 1 in the whole object.
	FirstLine int64
	// Count is the number of lines, blank ones included.
	Count int64
	// Data is the lines unchanged, or the entries, with their ends. A line longer than MaxLine is left
	// out, and is the last of its block.
	Data []byte
	// Bytes is the part of the object's text that the block accounts for. It exceeds len(Data) by the
	// lines that were left out, and by those that were skipped before it.
	Bytes int64
	// Stored is the number of stored bytes that were read for the block. Over all blocks of an object
	// it adds up to Object.Size, unless the object is damaged.
	Stored int64
	// End marks the last block of an object. Every object that is not skipped has one.
	End bool
	// Err is the *ObjectError that ended the object, nil if it was read to its end.
	Err error

	tooLong bool // there is one more line, which is longer than MaxLine
	buffer  []byte
}

// Line is one line of a block.
type Line struct {
	// Number is counted from 1 in the whole object, blank lines included.
	Number int64
	// Text is the line without its end, or the event in a line of `deliveries export`. It is valid
	// until the block is released. It is nil if the line is TooLong.
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

// Release returns the block's memory for reuse. The block and its lines are invalid then. A block
// that is not released costs one allocation.
func (b *Block) Release() {
	if cap(b.buffer) != BlockSize {
		return
	}
	*b = Block{buffer: b.buffer[:0]}
	blocks.Put(b)
}
