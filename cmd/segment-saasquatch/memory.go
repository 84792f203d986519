package main

import (
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"segment-saasquatch/adapter/webhook"
)

// memoryShare is how much of a container's memory Go's heap may take. The rest is for
// SQLite, stacks and the kernel.
const memoryShare = 0.6

// heedMemoryLimit returns how many bytes the process may take: GOMEMLIMIT, or the share
// of the memory limit of its cgroup (version 1 or 2) if that is less. Without GOMEMLIMIT
// it sets the share for the garbage collector. It returns math.MaxInt64 without a limit.
func heedMemoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	container, err := memlimit.FromCgroup() // fails without a limit, and where there are no cgroups
	if err != nil {
		return limit
	}
	share := int64(memoryShare * min(float64(container), math.MaxInt64/2))
	if limit == math.MaxInt64 {
		debug.SetMemoryLimit(share)
	}
	return min(limit, share)
}

// requestMemory returns what requests may take where the configuration does not say it.
func requestMemory(limit int64) int64 {
	return min(webhook.DefaultMemory, limit/4)
}

// storeCache returns the size of the store's page cache.
func storeCache(limit int64) int64 {
	return min(32<<20, max(2<<20, limit/16))
}
