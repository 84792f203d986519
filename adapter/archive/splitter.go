package archive

import (
	"bytes"
	"io"
	"slices"
)

// longest bounds the bytes that are kept of a line, including its end, before it counts as too
// long.
const longest = MaxLine + len("\r\n")

var byteOrderMark = []byte("\ufeff")

// splitter cuts text into blocks of complete lines.
type splitter struct {
	text    io.Reader
	line    int64 // how many lines came before
	after   int64 // lines up to this number are left out
	prompt  bool  // a block ends where nothing more has come
	skipped int64 // bytes that were left out since the last block
	started bool
	next    *Block // its buffer has the start of a line
	pending []byte // read already, but not yet looked at
	ended   error  // what the text ended with, to be returned behind pending
}

func (s *splitter) last() int64 { return s.line }

// split returns the next block. Text without an end of line is a line only at the end of the text.
func (s *splitter) split() (*Block, error) {
	for {
		b := s.next
		if s.next = nil; b == nil {
			b = newBlock()
		}
		b.FirstLine = s.line + 1
		end, err := s.fill(b)
		if lines := endOfLines(b.buffer[:end], BlockLines); lines < end {
			s.putBack(b.buffer[lines:])
			end, err = lines, nil
		} else if err == nil {
			s.next = newBlock()
			s.next.buffer = append(s.next.buffer, b.buffer[end:]...)
		}
		b.Data = b.buffer[:end]
		b.Bytes += int64(end)
		if !s.started {
			s.started = true
			b.Data = bytes.TrimPrefix(b.Data, byteOrderMark)
		}
		b.Count += int64(bytes.Count(b.Data, []byte{'\n'}))
		if n := len(b.Data); n > 0 && b.Data[n-1] != '\n' {
			b.Count++
		}
		s.line += b.Count
		s.leaveOut(b)
		b.Bytes += s.skipped
		if s.skipped = 0; err != nil || b.Count > 0 {
			return b, err
		}
		s.skipped = b.Bytes
		b.Release()
	}
}

// fill reads until the block's buffer is full of lines, and returns the end of the last complete
// line.
func (s *splitter) fill(b *Block) (end int, err error) {
	scanned := len(b.buffer) // so far it has the start of a line
	for {
		room := cap(b.buffer)
		if len(b.buffer) == room {
			if room = min(2*room, longest+len(byteOrderMark)); room <= len(b.buffer) {
				b.Bytes += int64(len(b.buffer))
				b.buffer = b.buffer[:0]
				return 0, s.skipLine(b)
			}
			b.buffer = slices.Grow(b.buffer, room-len(b.buffer))
		}
		// One block at most, so that the rest after the last line fits into one.
		room = min(room, max(BlockSize, scanned+BlockSize))
		n, err := s.readFull(b.buffer[scanned:room])
		b.buffer = b.buffer[:scanned+n]
		last := bytes.LastIndexByte(b.buffer[scanned:], '\n')
		switch {
		case err == io.EOF:
			return len(b.buffer), err
		case last >= 0:
			return scanned + last + 1, err
		case err != nil:
			return 0, err
		}
		scanned = len(b.buffer)
	}
}

// skipLine leaves out the rest of a line that is too long.
func (s *splitter) skipLine(b *Block) error {
	for {
		chunk := b.buffer[:BlockSize]
		n, err := s.readFull(chunk)
		if i := bytes.IndexByte(chunk[:n], '\n'); i >= 0 {
			b.Bytes += int64(i + 1)
			b.tooLong, b.Count = true, b.Count+1
			s.putBack(chunk[i+1 : n])
			return nil
		}
		b.Bytes += int64(n)
		if err == io.EOF {
			b.tooLong, b.Count = true, b.Count+1
		}
		if err != nil {
			return err
		}
	}
}

// putBack returns text to the input, and the error that followed it.
func (s *splitter) putBack(text []byte) { s.pending = slices.Concat(text, s.pending) }

// endOfLines returns the end of the first lines of a text, at most that many.
func endOfLines(text []byte, lines int) (end int) {
	for ; lines > 0; lines-- {
		i := bytes.IndexByte(text[end:], '\n')
		if i < 0 {
			return len(text)
		}
		end += i + 1
	}
	return end
}

// leaveOut removes the lines that are not wanted from a block.
func (s *splitter) leaveOut(b *Block) {
	if b.FirstLine > s.after || b.Count == 0 {
		return
	}
	if s.line <= s.after {
		b.Data, b.tooLong, b.FirstLine, b.Count = nil, false, s.line+1, 0
		return
	}
	for b.FirstLine <= s.after && len(b.Data) > 0 {
		b.Data = b.Data[bytes.IndexByte(b.Data, '\n')+1:]
		b.FirstLine++
		b.Count--
	}
}

// readFull reads until p is full, or until something has come if that is enough. Unlike
// io.ReadFull it returns the error unchanged.
func (s *splitter) readFull(p []byte) (n int, err error) {
	n = copy(p, s.pending)
	s.pending = s.pending[n:]
	for n < len(p) && s.ended == nil && !(s.prompt && n > 0) {
		var m int
		m, s.ended = s.text.Read(p[n:])
		n += m
	}
	if len(s.pending) > 0 {
		return n, nil
	}
	return n, s.ended
}
