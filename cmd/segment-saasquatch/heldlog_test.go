package main

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter/store"
)

// TestHeldLogIsNamed checks that the line names the readers of the log, or says how to find them.
func TestHeldLogIsNamed(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	s := &service{log: zap.New(core)}
	readers := []string{"process 7 (sqlite3)", "process 9"}
	s.logHeldLog(store.HeldLog{Bytes: 1 << 30, For: 2 * time.Minute, Readers: readers, File: "/data/adapter.db-shm"})
	s.logHeldLog(store.HeldLog{Bytes: 1 << 30, For: 2 * time.Minute, File: "/data/adapter.db-shm"})
	s.logHeldLog(store.HeldLog{Bytes: 1 << 20})
	lines := logged.All()
	if len(lines) != 3 || lines[0].Level != zap.WarnLevel || lines[2].Level != zap.InfoLevel {
		t.Fatalf("got %v", lines)
	}
	named, unnamed := lines[0].ContextMap(), lines[1].ContextMap()
	if named["readers"] != "process 7 (sqlite3), process 9" || named["bytes"] != int64(1<<30) ||
		named["held_s"] != 120.0 {
		t.Errorf("got %v", named)
	}
	if remedy, _ := unnamed["remedy"].(string); !strings.Contains(remedy, "lsof /data/adapter.db-shm") {
		t.Errorf("got %v", unnamed)
	}
}
