package main

import (
	"math"
	"runtime/debug"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter/httpserver"
)

const (
	// reservedFiles is how many files the process keeps for the store, its log, the
	// listeners and certificates.
	reservedFiles = 64
	// connectionMemory is what an open connection may take, in bytes: 45 KB with TLS and
	// HTTP/2, and a header that does not end.
	connectionMemory = 48<<10 + maxHeaderBytes
	// connectionShare is the share of the memory limit that open connections may take.
	connectionShare = 4
	// leastConnections is the bound where the limits leave less.
	leastConnections = 16
)

// connectionBounds returns how many connections senders and operators may have open, for
// a process that may open so many files, use so many bytes of memory, and have so many
// requests under way to SaaSquatch.
func connectionBounds(files, memory, upstream int64) (senders, operators int) {
	forOperators := min(max(files/8, 4), leastConnections*4)
	forSenders := max(files/4, files-forOperators-upstream-reservedFiles) // many tenants leave a quarter
	forSenders = min(forSenders, memory/connectionShare/connectionMemory, httpserver.DefaultConnections)
	return int(max(forSenders, leastConnections)), int(forOperators)
}

// boundConnections works out the bounds of this process. max_open_connections comes
// before that of senders.
func (s *service) boundConnections() (senders, operators int) {
	files := openFiles()
	upstream := int64(0)
	for i := range s.cfg.Connections {
		upstream += int64(s.cfg.Connections[i].SaaSquatch.Concurrency)
	}
	senders, operators = connectionBounds(files, debug.SetMemoryLimit(-1), upstream)
	if n := s.cfg.MaxOpenConnections; n != 0 {
		senders = n
		if needed := int64(n+operators) + upstream + reservedFiles; needed > files {
			s.log.Warn("max_open_connections is more than the limit of open files leaves: lower it, or raise the limit (ulimit -n, LimitNOFILE)",
				zap.Int("max_open_connections", n), zap.Int64("files_needed", needed), zap.Int64("open_files", files))
		}
	}
	return senders, operators
}

// openFiles returns how many files the process may open. The Go runtime has raised the
// soft limit to the hard one.
func openFiles() int64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxInt32
	}
	return int64(min(uint64(limit.Cur), math.MaxInt32)) // unlimited is the largest number
}
