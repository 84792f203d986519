package main

import (
	"time"

	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// logJump tells of a wall clock that was set.
func (s *service) logJump(jump adapter.Jump) {
	offset := zap.Float64("offset_s", jump.Offset.Seconds())
	if jump.By > 0 {
		s.log.Warn("the clock went forward, or the machine was suspended: what is due since is delivered now",
			zap.Float64("by_s", jump.By.Seconds()), offset)
		return
	}
	s.log.Warn("the clock went back: this process goes on from the time that it had, and is ahead of the clock by the offset",
		zap.String("remedy", "after a restart, events that wait for the clock are due by deliveries redrive --outcome pending"),
		zap.Float64("by_s", -jump.By.Seconds()), offset)
}

// logSkew tells of a clock that is not the database's.
func (s *service) logSkew(ahead time.Duration) {
	by := zap.Float64("ahead_s", ahead.Seconds())
	if ahead.Abs() <= store.MaxSkew {
		s.log.Info("the clock of this process agrees with the database's again", by)
		return
	}
	s.log.Error("the clock of this process is not the database's: retries come too early or too late", by,
		zap.String("remedy", "synchronize both clocks by NTP"))
}
