package main

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// record returns the function that logs and counts the outcomes of a connection's events.
func (s *service) record(connection string) func(adapter.Result) {
	write, count := logResult(s.events, connection), s.metrics.Event(connection)
	return func(r adapter.Result) {
		if r.Outcome.Settled() {
			count(r) // before the line: a reader of the line finds the event in the metrics
		}
		write(r)
	}
}

// observedClient observes every request and its duration.
type observedClient struct {
	delivery.Client
	observe func(adapter.Attempt, time.Duration)
}

// Track makes one request and observes it.
func (o *observedClient) Track(ctx context.Context, event *mapping.UserEvent) adapter.Attempt {
	began := time.Now()
	attempt := o.Client.Track(ctx, event)
	o.observe(attempt, time.Since(began))
	return attempt
}

// Upsert makes one request and observes it.
func (o *observedClient) Upsert(ctx context.Context, upsert *mapping.UserUpsert) adapter.Attempt {
	began := time.Now()
	attempt := o.Client.Upsert(ctx, upsert)
	o.observe(attempt, time.Since(began))
	return attempt
}

// TrackBulk makes one request and observes it.
func (o *observedClient) TrackBulk(ctx context.Context, events []*mapping.UserEvent) adapter.BulkAttempt {
	began := time.Now()
	bulk := o.Client.TrackBulk(ctx, events)
	o.observe(bulk.Call, time.Since(began))
	return bulk
}

// UpsertBulk makes one request and observes it.
func (o *observedClient) UpsertBulk(ctx context.Context, upserts []*mapping.UserUpsert) adapter.BulkAttempt {
	began := time.Now()
	bulk := o.Client.UpsertBulk(ctx, upserts)
	o.observe(bulk.Call, time.Since(began))
	return bulk
}

// observe returns the function that counts the requests of a connection, and logs the unexpected ones.
func (s *service) observe(connection string) func(adapter.Attempt, time.Duration) {
	count := s.metrics.Attempt(connection)
	unexpected, missing := s.logUnexpected(connection), s.logNoAnswer(connection)
	return func(a adapter.Attempt, took time.Duration) {
		count(a, took)
		switch {
		case a.Reason == mapping.ReasonUnexpectedAnswer:
			unexpected(a)
		case a.Cause != "":
			missing(a)
		}
	}
}

// noAnswerEvery is the least time between two lines on requests without an answer, for each cause.
const noAnswerEvery = 10 * time.Minute

// logNoAnswer logs why requests get no answer.
func (s *service) logNoAnswer(connection string) func(adapter.Attempt) {
	type seen struct {
		requests  atomic.Int64 // since the last line
		sometimes rate.Sometimes
	}
	var causes sync.Map // of *seen by adapter.Cause, of which there are few
	return func(a adapter.Attempt) {
		found, ok := causes.Load(a.Cause)
		if !ok {
			found, _ = causes.LoadOrStore(a.Cause, &seen{sometimes: rate.Sometimes{First: 1, Interval: noAnswerEvery}})
		}
		of := found.(*seen)
		of.requests.Add(1)
		of.sometimes.Do(func() {
			s.log.Log(levelOfCause(a.Cause), "requests to SaaSquatch get no answer",
				zap.String("connection", connection), zap.String("cause", string(a.Cause)),
				zap.String("detail", a.Detail), zap.Int64("requests", of.requests.Swap(0)))
		})
	}
}

// levelOfCause returns the error level for a cause that needs the operator.
func levelOfCause(cause adapter.Cause) zapcore.Level {
	if cause.Configured() {
		return zapcore.ErrorLevel
	}
	return zapcore.WarnLevel
}

// The first unexpectedFirst unexpected answers have a line each. After them there is a line in unexpectedEvery.
const unexpectedFirst, unexpectedEvery = 10, 10 * time.Second

// logUnexpected logs answers that are not SaaSquatch's.
func (s *service) logUnexpected(connection string) func(adapter.Attempt) {
	var answers atomic.Int64
	sometimes := rate.Sometimes{First: unexpectedFirst, Interval: unexpectedEvery}
	return func(a adapter.Attempt) {
		answers.Add(1)
		sometimes.Do(func() {
			message := "a refusal is not SaaSquatch's answer"
			if !a.Foreign {
				message = "a success is not SaaSquatch's answer: SaaSquatch may not have the request"
			}
			s.log.Warn(message+": check saasquatch.base_url, and the proxies and firewalls before it",
				zap.String("connection", connection), zap.Int("status", a.Status), zap.String("seen", a.Detail),
				zap.Int64("answers", answers.Swap(0)))
		})
	}
}

func (s *service) logPanic(cause any, stack []byte) {
	s.log.Error("panic while an event was mapped or sent", zap.Any("cause", cause), zap.ByteString("stack", stack))
}

// logHealth logs that the store fails, or works again.
func (s *service) logHealth(fault error) {
	if fault != nil {
		s.log.Error("the store does not work: requests get status 503 until it works", zap.Error(fault))
		return
	}
	s.log.Info("the store works again")
}

// logRefused logs that PostgreSQL refuses connections.
func (s *service) logRefused(err error) {
	s.log.Warn("the store goes on with fewer connections to PostgreSQL than it may use", zap.Error(err))
}

// logMigration logs a migration of the store before it begins, with the expected duration and room.
func (s *service) logMigration(m store.Migration) {
	s.log.Info("the store is about to be migrated", zap.Int64("from", m.From), zap.Int64("to", m.To),
		zap.Int64("pending", m.Pending), zap.Int64("settled", m.Settled),
		zap.Stringer("takes_about", m.Takes.Round(time.Millisecond)), zap.Int64("room_bytes", m.Room))
}

// droppedEvery is the least time between two lines on payloads of rejected events.
const droppedEvery = time.Minute

// observeDropped returns the function that counts and logs payloads for which dead_letters.max_bytes has no room.
func (s *service) observeDropped() func(store.Dropped) {
	var rejected atomic.Int64
	sometimes := rate.Sometimes{First: 1, Interval: droppedEvery}
	return func(d store.Dropped) {
		s.metrics.PayloadsDropped(d.Outcome, d.Payloads)
		if d.Outcome == adapter.Dead {
			s.log.Error("the oldest dead events lost their payloads and cannot be redriven: "+
				"dead_letters.max_bytes is full of dead events; raise it, redrive or purge them, "+
				"and replay the lost events from the Segment archive", zap.Int64("events", d.Payloads),
				zap.Int64("bytes", d.Bytes), zap.Int64("first", d.First), zap.Int64("last", d.Last))
			return
		}
		rejected.Add(d.Payloads)
		sometimes.Do(func() {
			s.log.Warn("rejected events lost their payloads, or were stored without: dead_letters.max_bytes is full",
				zap.Int64("events", rejected.Swap(0)))
		})
	}
}

// logJump logs a jump of the wall clock.
func (s *service) logJump(jump adapter.Jump) {
	offset := zap.Float64("offset_s", jump.Offset.Seconds())
	if jump.By > 0 {
		s.log.Warn("the clock went forward, or the machine was suspended: events that became due are delivered now",
			zap.Float64("by_s", jump.By.Seconds()), offset)
		return
	}
	s.log.Warn("the clock went back: this process keeps its time, and is ahead of the clock by the offset",
		zap.String("remedy", "after a restart, deliveries redrive --outcome pending makes waiting events due"),
		zap.Float64("by_s", -jump.By.Seconds()), offset)
}

// logSkew logs the difference between the clocks of this process and of the database.
func (s *service) logSkew(ahead time.Duration) {
	by := zap.Float64("ahead_s", ahead.Seconds())
	if ahead.Abs() <= store.MaxSkew {
		s.log.Info("the clock of this process agrees with the database's again", by)
		return
	}
	s.log.Error("the clock of this process differs from the database's: retries come too early or too late", by,
		zap.String("remedy", "synchronize both clocks by NTP"))
}

// logHeldLog logs that a reader keeps SQLite from reusing its write-ahead log, and the end of that.
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
		remedy = "find the processes that have the database open with lsof " + log.File + " as root, " +
			"and end their transactions"
	}
	s.log.Warn("a reader holds the write-ahead log of the store: the log grows with every event until the reader ends",
		bytes, zap.Float64("held_s", log.For.Seconds()), zap.String("readers", readers), zap.String("remedy", remedy))
}

// logBreaker logs that a tenant is paused, and the end of that. A pause that needs an operator is an error.
func (s *service) logBreaker(tenant string) func(delivery.BreakerState) {
	return func(state delivery.BreakerState) {
		if !state.Paused {
			s.log.Info("delivery goes on", zap.String("tenant", tenant))
			return
		}
		level := levelOfCause(state.Cause)
		switch state.Reason {
		case mapping.ReasonUnauthorized, mapping.ReasonForbidden, mapping.ReasonTenantNotFound,
			mapping.ReasonRedirected,
			mapping.ReasonUnexpectedAnswer:
			level = zapcore.ErrorLevel
		case mapping.ReasonRateLimited:
			level = zapcore.InfoLevel
		}
		fields := []zap.Field{
			zap.String("tenant", tenant), zap.String("reason", string(state.Reason)), zap.Time("until", state.Until),
		}
		for _, field := range [...]struct{ key, value string }{{"cause", string(state.Cause)},
			{"detail", state.Detail}} {
			if field.value != "" {
				fields = append(fields, zap.String(field.key, field.value))
			}
		}
		s.log.Log(level, "delivery is paused", fields...)
	}
}

// logResult returns the function that writes the line of an event, or of several events that share one. A line
// has neither a payload nor a user.
func logResult(log *zap.Logger, connection string) func(adapter.Result) {
	log = log.With(zap.String("connection", connection))
	return func(r adapter.Result) {
		entry := log.Check(levelOf(r), "event")
		if entry == nil {
			return
		}
		fields := make([]zap.Field, 0, 15)
		fields = append(fields, zap.String("outcome", r.Outcome.String()))
		for _, field := range [...]struct{ key, value string }{
			{"reason", string(r.Reason)}, {"message_id", bounded(r.MessageID)}, {"idempotency_key", r.IdempotencyKey},
			{"event_key", r.EventKey}, {"detail", r.Detail}, {"call", r.Call.String()},
		} {
			if field.value != "" {
				fields = append(fields, zap.String(field.key, field.value))
			}
		}
		if r.Events > 1 {
			fields = append(fields, zap.Int("events", r.Events))
		}
		if len(r.Warnings) > 0 {
			fields = append(fields, zap.Any("warnings", r.Warnings))
		}
		if r.Status != 0 {
			fields = append(fields, zap.Int("status", r.Status))
		}
		if r.Lag > 0 {
			fields = append(fields, zap.Duration("lag_ms", r.Lag))
		}
		entry.Write(append(fields, zap.Int("attempts", r.Attempts), zap.Duration("duration_ms", r.Duration))...)
	}
}

// levelOf returns the error or warning level for outcomes that the operator has to see.
func levelOf(r adapter.Result) zapcore.Level {
	switch r.Outcome {
	case adapter.Delivered, adapter.Duplicate, adapter.Skipped:
		return zap.InfoLevel
	case adapter.Dead:
		if r.Reason == mapping.ReasonPayloadDamaged {
			return zap.ErrorLevel
		}
	case adapter.Pending:
		switch r.Reason {
		case mapping.ReasonUnauthorized, mapping.ReasonForbidden, mapping.ReasonTenantNotFound,
			mapping.ReasonRedirected, mapping.ReasonUnexpectedAnswer:
			return zap.ErrorLevel
		}
	}
	return zap.WarnLevel
}

// maxLogged bounds a messageId in the log, in bytes. Segment allows 100 characters.
const maxLogged = 256

func bounded(text string) string {
	if len(text) > maxLogged {
		return text[:maxLogged] + "…"
	}
	return text
}
