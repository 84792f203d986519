package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// storedBuffer is the size of one read from an object, in stored bytes.
const storedBuffer = 64 << 10

const (
	// maxLayers bounds the layers of compression. Some tools compress a compressed file again.
	maxLayers = 2
	// maxWindow bounds the window of a zstd frame, in bytes. RFC 8878, section
	// 3.1.1.1.2, asks decoders to support 8 MiB; zstd exceeds it only with --ultra and
	// --long.
	maxWindow = 8 << 20
	// A text of more than bombSize bytes and more than bombRatio times the size of the object is no
	// log: deflate reaches 1032:1 at best, and logs reach 6:1 to 50:1.
	bombSize, bombRatio = 128 << 20, 2000
)

// content is the text of an object, decompressed. Magic bytes tell the compression, not the name:
// clients silently decompress objects with Content-Encoding: gzip, so a file that ends in .gz may
// be plain.
type content struct {
	stored   counted
	buffered *bufio.Reader
	unpacked *gzip.Reader    // the first layer, if that is gzip
	zstds    []*zstd.Decoder // the layers that are zstd
	text     io.Reader       // the innermost layer, or buffered
	outer    *outerText      // of the innermost layer, if there are two
	layers   int

	head    []byte // the start of the text, as far as it has not been handed on
	headEnd error  // what the text ended with, to be returned behind head
	first   []byte // the memory of head
	size    int64  // of the text, so far
	values  bool   // the text is JSON values, not lines
}

// counted counts the bytes that are read, and keeps the error that ended them.
type counted struct {
	from io.Reader
	n    int64
	err  error // nil, or other than io.EOF
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

var contents = sync.Pool{New: func() any {
	return &content{
		buffered: bufio.NewReaderSize(nil, storedBuffer), unpacked: new(gzip.Reader),
		first: make([]byte, 0, storedBuffer),
	}
}}

// zstds keeps decoders. They work in the goroutine that reads.
var zstds = sync.Pool{New: func() any {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		panic(err) // the options are constants
	}
	return decoder
}}

// newContent starts reading an object, and finds out what its text is. It is released
// when the object's reading has ended, with or without an error.
func newContent(from io.Reader) (*content, error) {
	c := contents.Get().(*content)
	c.stored = counted{from: from}
	c.buffered.Reset(&c.stored)
	c.text = c.buffered
	kind, err := c.storedPacking()
	if err == nil && kind != plain {
		err = c.unpack(kind, c.buffered)
	}
	for err == nil {
		if kind, err = c.readHead(); err != nil || kind == plain {
			break
		}
		// What the next layer reads begins with the head.
		c.outer = &outerText{rest: bytes.Clone(c.head), from: c.text, err: c.headEnd}
		err = c.unpack(kind, bufio.NewReaderSize(c.outer, storedBuffer))
	}
	if err == io.EOF { // an empty object
		err = nil
	}
	return c, err
}

// outerText is the text of the outer layer, whose start has been read. It keeps the
// error that ended it.
type outerText struct {
	rest []byte
	from io.Reader
	err  error
}

func (o *outerText) Read(p []byte) (n int, err error) {
	if len(o.rest) > 0 {
		n = copy(p, o.rest)
		o.rest = o.rest[n:]
		return n, nil
	}
	if o.err == nil {
		n, o.err = o.from.Read(p)
	}
	return n, o.err
}

// storedPacking tells by the first bytes how the object is packed.
func (c *content) storedPacking() (packing, error) {
	for n := 1; ; n++ {
		first, err := c.buffered.Peek(n)
		if len(first) == 0 {
			return plain, err
		}
		kind, more := packingOf(first)
		if more && err == nil {
			continue
		}
		// No text begins with this byte, so that it is a gzip whose header is damaged.
		if first[0] == gzipMagic[0] && !isCompress(first) {
			kind = packedGzip
		}
		return kind, nil // an error comes again
	}
}

// unpack adds a layer.
func (c *content) unpack(kind packing, from *bufio.Reader) (err error) {
	if c.layers == maxLayers {
		return &FormatError{Format: "packed more than twice", Remedy: "unpack it before"}
	}
	c.layers++
	switch {
	case kind == packedZstd:
		decoder := zstds.Get().(*zstd.Decoder)
		c.zstds = append(c.zstds, decoder)
		err = decoder.Reset(from)
		c.text = &zstdText{decoder}
	case c.layers == 1:
		err = c.unpacked.Reset(from)
		c.text = c.unpacked
	default:
		c.text, err = gzip.NewReader(from)
	}
	if err != nil {
		return c.explain(err)
	}
	return nil
}

// zstdText gives errors that say what they are of.
type zstdText struct{ from *zstd.Decoder }

func (z *zstdText) Read(p []byte) (int, error) {
	n, err := z.from.Read(p)
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		err = &FormatError{
			Format: "zstd with a window of more than 8 MiB",
			Remedy: "pack it again without --ultra and --long",
		}
	case errors.Is(err, zstd.ErrUnknownDictionary):
		err = &FormatError{Format: "zstd with a dictionary of its own", Remedy: "unpack it before"}
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		err = fmt.Errorf("zstd: %w", err)
	}
	return n, err
}

// readHead reads as much of the text as its compression or format can be known by.
func (c *content) readHead() (packing, error) {
	c.head, c.headEnd = c.first[:0], nil
	var start lead
	for {
		switch start.look(c.head, c.headEnd != nil) {
		case leadsToMore:
			if len(c.head) == cap(c.head) {
				c.head = slices.Grow(c.head, len(c.head))
			}
			n, err := c.text.Read(c.head[len(c.head):cap(c.head)])
			c.head, c.headEnd = c.head[:len(c.head)+n], err
		case leadsToGzip:
			return packedGzip, nil
		case leadsToZstd:
			return packedZstd, nil
		case leadsToOther:
			return plain, start.other
		case leadsToValues:
			c.values = true
			return plain, nil
		default:
			return plain, nil
		}
	}
}

// Read returns io.EOF at the end of whole content only.
func (c *content) Read(p []byte) (n int, err error) {
	switch {
	case len(c.head) > 0:
		n = copy(p, c.head)
		if c.head = c.head[n:]; len(c.head) == 0 {
			c.head = nil
		}
	case c.headEnd != nil:
		err = c.headEnd
	default:
		n, err = c.text.Read(p)
	}
	c.size += int64(n)
	// A decoder may end without an error although its source did not.
	if err == io.EOF && c.stored.err != nil {
		err = c.stored.err
	}
	if err == io.EOF && c.outer != nil && c.outer.err != nil {
		err = c.outer.err
	}
	if err != nil && err != io.EOF {
		return n, c.explain(err)
	}
	if c.size > bombSize && c.size/bombRatio > c.stored.n {
		return n, &FormatError{
			Format: fmt.Sprintf("packed more than %d:1", bombRatio),
			Remedy: "it is no log; if it is one, unpack it before",
		}
	}
	return n, err
}

// explain returns the cause of a failed read: the stored bytes could not be read, or are
// incomplete.
func (c *content) explain(err error) error {
	var format *FormatError
	switch {
	case c.stored.err != nil:
		return c.stored.err
	case errors.As(err, &format):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		return fmt.Errorf("%w, after %d bytes", ErrTruncated, c.stored.n)
	default:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
}

// taken returns the number of stored bytes that have been used.
func (c *content) taken() int64 { return c.stored.n - int64(c.buffered.Buffered()) }

func (c *content) release() {
	for _, decoder := range c.zstds {
		if decoder.Reset(nil) == nil {
			zstds.Put(decoder)
		}
	}
	c.buffered.Reset(nil)
	contents.Put(&content{buffered: c.buffered, unpacked: c.unpacked, first: c.first})
}
