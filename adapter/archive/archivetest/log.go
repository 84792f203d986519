package archivetest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// WriteLog writes a log of at least that many bytes of newline-delimited JSON, as fast as bytes
// are copied. It returns the number of lines and bytes. The lines are of the kinds that [Generate]
// makes, all of them whole, and their events are months old at most. Each has a message id of its
// own, which is a valid key. The same size and seed make the same log.
func WriteLog(w io.Writer, size int64, seed uint64) (lines, written int64, err error) {
	const templates = 2000
	day := time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)
	e := events{random: rand.New(rand.NewPCG(seed, 0x106)), now: day.AddDate(0, 0, 1)}
	var text []byte
	var ids []int // where each line's message id has its number
	for range templates {
		line := e.event(day)
		line.MessageID = "ajs-next-" + fmt.Sprintf("%013d", day.UnixMilli()) + "-" + e.uuid()
		received := day.Add(time.Duration(e.random.IntN(86_400_000)) * time.Millisecond)
		line.Timestamp = received.Add(-time.Duration(e.random.IntN(90_000)) * time.Millisecond)
		start := len(text)
		text = append(append(text, e.json(line, received)...), '\n')
		ids = append(ids, start+bytes.Index(text[start:], []byte(line.MessageID))+len(line.MessageID)-12)
	}
	for written < size {
		for _, id := range ids {
			lines++
			n := lines
			for digit := id + 11; digit >= id; digit-- {
				text[digit] = byte('0' + n%10)
				n /= 10
			}
		}
		// The last round has only as many lines as it takes.
		part, kept := text, len(ids)
		if rest := size - written; rest < int64(len(text)) {
			end := int(rest) + bytes.IndexByte(text[max(rest-1, 0):], '\n')
			part = text[:end]
			kept = bytes.Count(part, []byte{'\n'})
		}
		lines -= int64(len(ids) - kept)
		n, err := w.Write(part)
		written += int64(n)
		if err != nil {
			return lines, written, fmt.Errorf("write log: %w", err)
		}
	}
	return lines, written, nil
}
