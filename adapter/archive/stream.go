package archive

import (
	"context"
	"io"
	"math"
)

// stream is one object that is read ahead of the consumer.
type stream struct {
	object Object
	after  int64 // lines up to this number are skipped
	prompt bool
	resume func(Object) (int64, bool)
	blocks chan *Block // the last has End
	err    error       // the listing's, instead of an object
}

// read reads the object and sends its blocks. It returns after the last block, or when the context
// ends.
func (s *stream) read(ctx context.Context) {
	opened, err := s.object.store.open(ctx, s.object)
	if err != nil {
		s.send(ctx, s.end(newBlock(), nil, err))
		return
	}
	defer opened.Close() // an error in closing what was read says nothing about it
	text, err := newContent(opened)
	defer text.release()
	if err != nil {
		s.send(ctx, s.end(newBlock(), nil, err))
		return
	}
	blocks := s.cutter(text)
	var taken int64
	for {
		b, err := blocks.split()
		b.Object = s.object
		b.Stored = text.taken() - taken
		taken += b.Stored
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			s.end(b, blocks, err)
		}
		last := b.End // the block is the consumer's once it is sent
		if !s.send(ctx, b) || last {
			return
		}
	}
}

// cutter returns the cutter for the text. For an object of entries it asks Resume again: a number
// of lines is another place.
func (s *stream) cutter(text *content) cutter {
	if !text.values {
		return &splitter{text: text, after: s.after, prompt: s.prompt}
	}
	s.object.Version += OfEntries
	after, done := s.resume(s.object)
	if done {
		after = math.MaxInt64
	}
	return &entrySplitter{values: newValues(text), after: after, prompt: s.prompt}
}

// end makes a block the object's last.
func (s *stream) end(b *Block, blocks cutter, err error) *Block {
	b.Object, b.End = s.object, true
	if err != nil {
		failed := &ObjectError{Object: s.object, Err: err}
		if blocks != nil {
			failed.Line = blocks.last()
			_, failed.OfEntries = blocks.(*entrySplitter)
		}
		b.Err = failed
	}
	return b
}

func (s *stream) send(ctx context.Context, b *Block) bool {
	// Our own shutdown is no error of the object.
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
