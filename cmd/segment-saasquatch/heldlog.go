package main

import (
	"strings"

	"go.uber.org/zap"

	"segment-saasquatch/adapter/store"
)

// logHeldLog tells of a reader that keeps SQLite's write-ahead log from beginning anew, and
// of its end.
func (s *service) logHeldLog(log store.HeldLog) {
	bytes := zap.Int64("bytes", log.Bytes)
	if log.For == 0 {
		s.log.Info("no reader holds the write-ahead log any more", bytes)
		return
	}
	readers := strings.Join(log.Readers, ", ")
	remedy := "end the transaction of that process; a long read of this one ends by itself"
	if readers == "" {
		readers = "unknown"
		remedy = "find the processes that have the database open, by root's lsof " + log.File + ", and end their transactions"
	}
	s.log.Warn("a reader holds the write-ahead log of the store, which grows with every event until the reader ends",
		bytes, zap.Float64("held_s", log.For.Seconds()), zap.String("readers", readers), zap.String("remedy", remedy))
}
