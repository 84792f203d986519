package archive

import (
	"context"
	"io"
)

// stream is one object being read ahead of the consumer.
type stream struct {
	object Object
	after  int64       // lines up to this number are skipped
	blocks chan *Block // the last has End
	err    error       // the listing's, instead of an object
}

// read reads the object and sends its blocks. It returns when the last has been
// sent, or when the context ends.
func (s *stream) read(ctx context.Context) {
	opened, err := s.object.store.open(ctx, s.object)
	if err != nil {
		s.send(ctx, s.end(newBlock(), 0, err))
		return
	}
	defer opened.Close() // an error in closing what was read says nothing about it
	text, err := newContent(opened)
	defer text.release()
	if err != nil {
		s.send(ctx, s.end(newBlock(), 0, err))
		return
	}
	lines := splitter{text: text, after: s.after}
	var taken int64
	for {
		b, err := lines.split()
		b.Object = s.object
		b.Stored = text.taken() - taken
		taken += b.Stored
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			s.end(b, lines.line, err)
		}
		last := b.End // the block is the consumer's once it is sent
		if !s.send(ctx, b) || last {
			return
		}
	}
}

// end makes a block the object's last.
func (s *stream) end(b *Block, line int64, err error) *Block {
	b.Object, b.End = s.object, true
	if err != nil {
		b.Err = &ObjectError{Object: s.object, Line: line, Err: err}
	}
	return b
}

func (s *stream) send(ctx context.Context, b *Block) bool {
	// What our own stopping did to the object is no error of it.
	if ctx.Err() != nil {
		return false
	}
	select {
	case s.blocks <- b:
		return true
	case <-ctx.Done():
		return false
	}
}
