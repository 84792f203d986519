package main

import (
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter/httpserver"
	"segment-saasquatch/adapter/webhook"
)

const (
	// reservedFiles is how many files the process keeps for the store, its log, listeners and certificates.
	reservedFiles = 64
	// connectionMemory bounds the memory of an open connection in bytes: 45 KB with TLS and HTTP/2, and an
	// unfinished header.
	connectionMemory = 48<<10 + maxHeaderBytes
	// connectionShare is the divisor of the memory limit: open connections may take a quarter.
	connectionShare = 4
	// leastConnections is the bound if the limits leave less.
	leastConnections = 16
)

// connectionBounds returns how many connections senders and operators may have open. The process may open the
// given number of files, use the given bytes of memory, and have upstream requests to SaaSquatch in flight.
func connectionBounds(files, memory, upstream int64) (senders, operators int) {
	forOperators := min(max(files/8, 4), leastConnections*4)
	forSenders := max(files/4, files-forOperators-upstream-reservedFiles) // with many tenants a quarter
	forSenders = min(forSenders, memory/connectionShare/connectionMemory, httpserver.DefaultConnections)
	return int(max(forSenders, leastConnections)), int(forOperators)
}

// boundConnections returns the bounds of this process. max_open_connections overrides the bound of senders.
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
			s.log.Warn("max_open_connections is more than the limit of open files leaves: "+
				"lower it, or raise the limit (ulimit -n, LimitNOFILE)",
				zap.Int("max_open_connections", n), zap.Int64("files_needed", needed), zap.Int64("open_files", files))
		}
	}
	return senders, operators
}

// openFiles returns how many files the process may open. The Go runtime has raised the soft limit to the hard limit.
func openFiles() int64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxInt32
	}
	return int64(min(uint64(limit.Cur), math.MaxInt32)) // unlimited is the largest number
}

// memoryShare is the share of a container's memory for Go's heap. The rest is for SQLite, stacks and the kernel.
const memoryShare = 0.6

// heedMemoryLimit returns how many bytes the process may take: GOMEMLIMIT, or the share of its cgroup's memory
// limit (version 1 or 2) if that is less. Without GOMEMLIMIT it sets the share for the garbage collector. Without
// a limit it returns math.MaxInt64.
func heedMemoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	container, err := memlimit.FromCgroup() // fails without a limit, and without cgroups
	if err != nil {
		return limit
	}
	share := int64(memoryShare * min(float64(container), math.MaxInt64/2))
	if limit == math.MaxInt64 {
		debug.SetMemoryLimit(share)
	}
	return min(limit, share)
}

// requestMemory returns the default of request_memory, in bytes.
func requestMemory(limit int64) int64 {
	return min(webhook.DefaultMemory, limit/4)
}

// storeCache returns the size of the store's page cache, in bytes. Events in flight need no more than 8 MiB, and the
// kernel caches the rest of the file.
func storeCache(limit int64) int64 {
	return min(8<<20, max(2<<20, limit/16))
}
