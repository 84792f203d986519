package main

import (
	"context"
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

// record returns what is told the outcomes of a connection's events.
func (s *service) record(connection string) func(adapter.Result) {
	write, count := logResult(s.events, connection), s.metrics.Event(connection)
	return func(r adapter.Result) {
		if r.Outcome.Settled() {
			count(r) // first: a reader of the line finds it in the metrics
		}
		write(r)
	}
}

// observedClient tells of every request and how long it took.
type observedClient struct {
	delivery.Client
	observe func(adapter.Attempt, time.Duration)
}

// Track makes one request.
func (o *observedClient) Track(ctx context.Context, event *mapping.UserEvent) adapter.Attempt {
	began := time.Now()
	attempt := o.Client.Track(ctx, event)
	o.observe(attempt, time.Since(began))
	return attempt
}

// Upsert makes one request.
func (o *observedClient) Upsert(ctx context.Context, upsert *mapping.UserUpsert) adapter.Attempt {
	began := time.Now()
	attempt := o.Client.Upsert(ctx, upsert)
	o.observe(attempt, time.Since(began))
	return attempt
}

// observe returns what is told the requests of a connection.
func (s *service) observe(connection string) func(adapter.Attempt, time.Duration) {
	count, unexpected, missing := s.metrics.Attempt(connection), s.logUnexpected(connection), s.logNoAnswer(connection)
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

// noAnswerEvery is how often requests without an answer have a line, for each cause. The
// first one has.
const noAnswerEvery = 10 * time.Minute

// logNoAnswer tells why requests get no answer.
func (s *service) logNoAnswer(connection string) func(adapter.Attempt) {
	type seen struct {
		requests  atomic.Int64 // since the last line
		sometimes rate.Sometimes
	}
	var causes sync.Map // of *seen by adapter.Cause: there are few
	return func(a adapter.Attempt) {
		found, ok := causes.Load(a.Cause)
		if !ok {
			found, _ = causes.LoadOrStore(a.Cause, &seen{sometimes: rate.Sometimes{First: 1, Interval: noAnswerEvery}})
		}
		of := found.(*seen)
		of.requests.Add(1)
		of.sometimes.Do(func() {
			s.log.Log(levelOfCause(a.Cause), "requests to SaaSquatch get no answer", zap.String("connection", connection),
				zap.String("cause", string(a.Cause)), zap.String("detail", a.Detail), zap.Int64("requests", of.requests.Swap(0)))
		})
	}
}

// levelOfCause makes an error of what a person has to mend.
func levelOfCause(cause adapter.Cause) zapcore.Level {
	if cause.Configured() {
		return zapcore.ErrorLevel
	}
	return zapcore.WarnLevel
}

// The first unexpectedFirst unexpected answers have a line each, and then one in
// unexpectedEvery.
const unexpectedFirst, unexpectedEvery = 10, 10 * time.Second

// logUnexpected tells what was answered in SaaSquatch's place.
func (s *service) logUnexpected(connection string) func(adapter.Attempt) {
	var answers atomic.Int64
	sometimes := rate.Sometimes{First: unexpectedFirst, Interval: unexpectedEvery}
	return func(a adapter.Attempt) {
		answers.Add(1)
		sometimes.Do(func() {
			message := "a refusal is not SaaSquatch's answer"
			if !a.Foreign {
				message = "a success is not SaaSquatch's answer: it may not have got the request"
			}
			s.log.Warn(message+": look at saasquatch.base_url, and at proxies and firewalls on the way",
				zap.String("connection", connection), zap.Int("status", a.Status), zap.String("seen", a.Detail),
				zap.Int64("answers", answers.Swap(0)))
		})
	}
}

func (s *service) logPanic(cause any, stack []byte) {
	s.log.Error("panic while an event was mapped or sent", zap.Any("cause", cause), zap.ByteString("stack", stack))
}

// logHealth tells of a store that stops working, or works again.
func (s *service) logHealth(fault error) {
	if fault != nil {
		s.log.Error("the store does not work: requests are answered with 503 until it does", zap.Error(fault))
		return
	}
	s.log.Info("the store works again")
}

// logRefused tells of connections that PostgreSQL does not grant.
func (s *service) logRefused(err error) {
	s.log.Warn("the store goes on with fewer connections to PostgreSQL than it may use", zap.Error(err))
}

// logMigration tells what the migration of the store is going to take.
func (s *service) logMigration(m store.Migration) {
	s.log.Info("the store is about to be migrated",
		zap.Int64("from", m.From), zap.Int64("to", m.To), zap.Int64("pending", m.Pending), zap.Int64("settled", m.Settled),
		zap.String("takes_about", m.Takes.Round(time.Millisecond).String()), zap.Int64("room_bytes", m.Room))
}

// droppedEvery is the least time between two lines on payloads of rejected events.
const droppedEvery = time.Minute

// observeDropped returns what counts and logs the payloads that dead_letters.max_bytes has
// no room for.
func (s *service) observeDropped() func(store.Dropped) {
	var rejected atomic.Int64
	sometimes := rate.Sometimes{First: 1, Interval: droppedEvery}
	return func(d store.Dropped) {
		s.metrics.PayloadsDropped(d.Outcome, d.Payloads)
		if d.Outcome == adapter.Dead {
			s.log.Error("the oldest dead events lost their payloads and cannot be redriven: dead_letters.max_bytes is full of dead events; "+
				"raise it, redrive or purge them, and replay the lost ones from the Segment archive",
				zap.Int64("events", d.Payloads), zap.Int64("bytes", d.Bytes), zap.Int64("first", d.First), zap.Int64("last", d.Last))
			return
		}
		rejected.Add(d.Payloads)
		sometimes.Do(func() {
			s.log.Warn("rejected events lost their payloads, or were stored without: dead_letters.max_bytes is full",
				zap.Int64("events", rejected.Swap(0)))
		})
	}
}

// logBreaker tells of a tenant that is paused, or not any more. What a person has to
// mend is an error.
func (s *service) logBreaker(tenant string) func(delivery.BreakerState) {
	return func(state delivery.BreakerState) {
		if !state.Paused {
			s.log.Info("delivery goes on", zap.String("tenant", tenant))
			return
		}
		level := levelOfCause(state.Cause)
		switch state.Reason {
		case mapping.ReasonUnauthorized, mapping.ReasonForbidden, mapping.ReasonTenantNotFound, mapping.ReasonRedirected,
			mapping.ReasonUnexpectedAnswer:
			level = zapcore.ErrorLevel
		case mapping.ReasonRateLimited:
			level = zapcore.InfoLevel
		}
		fields := []zap.Field{
			zap.String("tenant", tenant), zap.String("reason", string(state.Reason)), zap.Time("until", state.Until),
		}
		for _, field := range [...]struct{ key, value string }{{"cause", string(state.Cause)}, {"detail", state.Detail}} {
			if field.value != "" {
				fields = append(fields, zap.String(field.key, field.value))
			}
		}
		s.log.Log(level, "delivery is paused", fields...)
	}
}
