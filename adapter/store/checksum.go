package store

import (
	"database/sql"
	"encoding/binary"
	"hash/crc32"
)

// castagnoli is the polynomial for which processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of a payload and the id of its delivery. So it also detects a payload in the row of another
// delivery. It detects every change of up to 32 consecutive bits, and misses one of 4 billion others. It is no
// protection against a person who can write to the database, and it does not cover the other columns of the row. Its
// form is a signed number of 32 bits, which both databases store in four bytes.
func checksum(payload []byte, id int64) int64 {
	var suffix [8]byte
	binary.BigEndian.PutUint64(suffix[:], uint64(id))
	return int64(int32(crc32.Update(crc32.Checksum(payload, castagnoli), castagnoli, suffix[:])))
}

// isDamaged reports whether a stored payload has changed. Payloads of earlier versions have no checksum, and pass.
func isDamaged(payload []byte, id int64, stored sql.NullInt64) bool {
	return stored.Valid && stored.Int64 != checksum(payload, id)
}
