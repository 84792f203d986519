package archive

import (
	"bytes"
	"fmt"
)

// FormatError is the error for an object of a format that is not read. No line of the object is
// returned.
type FormatError struct {
	// Format names the format.
	Format string
	// Remedy tells the operator what to do.
	Remedy string
}

func (e *FormatError) Error() string { return fmt.Sprintf("it is %s: %s", e.Format, e.Remedy) }

// packing is a format of compression.
type packing int

const (
	plain packing = iota + 1
	packedGzip
	packedZstd
)

// Magic bytes: RFC 1952, section 2.3.1, and RFC 8878, sections 3.1.1 and 3.1.2, where
// the lowest four bits of a skippable frame's first byte are free.
const (
	gzipMagic      = "\x1f\x8b"
	zstdMagic      = "\x28\xb5\x2f\xfd"
	skippableMagic = "\x50\x2a\x4d\x18"
	compressMagic  = "\x1f\x9d" // of compress(1)
)

// packingOf returns the compression of bytes that begin so. It reports whether it needs more
// bytes.
func packingOf(first []byte) (kind packing, more bool) {
	if len(first) == 0 {
		return plain, true
	}
	zeroed := append(make([]byte, 0, len(zstdMagic)), first[:min(len(first), len(zstdMagic))]...)
	if zeroed[0]&0xf0 == skippableMagic[0] {
		zeroed[0] = skippableMagic[0]
	}
	for _, known := range []struct {
		magic string
		kind  packing
	}{{gzipMagic, packedGzip}, {zstdMagic, packedZstd}, {skippableMagic, packedZstd}} {
		switch n := min(len(zeroed), len(known.magic)); {
		case string(zeroed[:n]) != known.magic[:n]:
		case n < len(known.magic):
			return plain, true
		default:
			return known.kind, false
		}
	}
	return plain, false
}

func isCompress(first []byte) bool { return bytes.HasPrefix(first, []byte(compressMagic)) }

// signatureLength is the longest start that a signature needs, in bytes.
const signatureLength = 512

const (
	asJSON    = "write it as newline-delimited JSON in UTF-8, one event a line"
	asUnpack  = "unpack it before; an unpacked stream can be piped to - (standard input)"
	asDecrypt = "decrypt it before"
	asNoLog   = "it is no log; leave it out"
)

// signatures are the first bytes of formats that occur in archives and in exports of warehouses.
// No JSON text begins with any of them.
var signatures = []struct {
	at             int
	magic          string
	format, remedy string
}{
	{0, "PAR1", "Parquet", asJSON},
	{0, "PARE", "encrypted Parquet", asJSON},
	{0, "Obj\x01", "Avro", asJSON},
	{0, "ORC", "ORC", asJSON},
	{0, "ARROW1", "Arrow", asJSON},
	{0, "FEA1", "Feather", asJSON},
	{0, "SEQ\x06", "a Hadoop sequence file", asJSON},
	{0, "SEQ\x05", "a Hadoop sequence file", asJSON},
	{0, "SQLite format 3", "a SQLite database", asJSON},
	{0, "\x89HDF", "HDF5", asJSON},
	{0, "\xd0\xcf\x11\xe0", "an old Office document", asJSON},
	{0, "PK\x03\x04", "a zip archive", asUnpack},
	{0, "PK\x05\x06", "a zip archive", asUnpack},
	{0, "PK\x07\x08", "a zip archive", asUnpack},
	{4, "1AY&SY", "bzip2", asUnpack},
	{0, "\xfd7zXZ", "xz", asUnpack},
	{0, "7z\xbc\xaf\x27\x1c", "a 7z archive", asUnpack},
	{0, "\xff\x06\x00\x00sNaPpY", "snappy", asUnpack},
	{0, "\x82SNAPPY", "snappy", asUnpack},
	{0, "\x04\x22\x4d\x18", "LZ4", asUnpack},
	{0, "LZIP", "lzip", asUnpack},
	{0, "\x5d\x00\x00", "LZMA", asUnpack},
	{0, compressMagic, "Unix compress", asUnpack},
	{0, "Rar!", "a RAR archive", asUnpack},
	{257, "ustar", "a tar archive", asUnpack},
	{0, "-----BEGIN PGP MESSAGE", "encrypted with PGP", asDecrypt},
	{0, "age-encryption.org/", "encrypted with age", asDecrypt},
	{0, "Salted__", "encrypted with OpenSSL", asDecrypt},
	{0, "%PDF-", "PDF", asNoLog},
	{0, "\x89PNG", "a PNG image", asNoLog},
	{0, "\xff\xd8\xff", "a JPEG image", asNoLog},
	{0, "GIF87a", "a GIF image", asNoLog},
	{0, "GIF89a", "a GIF image", asNoLog},
	{0, "\x7fELF", "a program", asNoLog},
}

// markup are the first bytes of HTML and XML, in lower case: an error page that was stored instead
// of the log.
var markup = []string{"<!doctype", "<?xml", "<html", "<error"}

// otherFormat returns the format of a text that begins so, nil if it is unknown.
func otherFormat(first []byte) *FormatError {
	for _, known := range signatures {
		// Three letters alone may be a word.
		isWord := known.magic == "ORC" && bytes.IndexByte(first, 0) < 0
		if len(first) > known.at && bytes.HasPrefix(first[known.at:], []byte(known.magic)) && !isWord {
			return &FormatError{Format: known.format, Remedy: known.remedy}
		}
	}
	begins := bytes.ToLower(bytes.TrimSpace(first[:min(len(first), signatureLength)]))
	for _, tag := range markup {
		if bytes.HasPrefix(begins, []byte(tag)) {
			return &FormatError{Format: "HTML or XML, as error pages are", Remedy: "download the log again"}
		}
	}
	return nil
}

// wideText returns the encoding of a text that begins so if it is UTF-16 or UTF-32, nil otherwise.
// It needs four bytes. Without a byte order mark it knows the encoding by the zeros of JSON's
// first byte, as in RFC 4627, section 3.
func wideText(first []byte) *FormatError {
	for _, known := range []struct{ magic, name string }{
		{"\xff\xfe\x00\x00", "UTF-32"}, {"\x00\x00\xfe\xff", "UTF-32"}, {"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"},
	} {
		if bytes.HasPrefix(first, []byte(known.magic)) {
			return wideError(known.name)
		}
	}
	if len(first) < 4 {
		return nil
	}
	begins := func(c byte) bool { return c == '{' || c == '[' || isBlankByte(c) }
	a, b, c, d := first[0], first[1], first[2], first[3]
	switch {
	case begins(a) && b|c|d == 0:
		return wideError("UTF-32LE")
	case begins(d) && a|b|c == 0:
		return wideError("UTF-32BE")
	case begins(a) && b == 0 && c != 0 && d == 0:
		return wideError("UTF-16LE")
	case a == 0 && begins(b) && c == 0 && d != 0:
		return wideError("UTF-16BE")
	}
	return nil
}

func wideError(name string) *FormatError {
	remedy := "convert it to UTF-8 before, for instance with iconv -f " + name + " -t UTF-8"
	return &FormatError{Format: name + " text", Remedy: remedy}
}
