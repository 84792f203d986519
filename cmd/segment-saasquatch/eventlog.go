package main

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// logResult writes the one line of an event, or of several that share it: no payload and
// no user.
func logResult(log *zap.Logger, connection string) func(adapter.Result) {
	log = log.With(zap.String("connection", connection))
	return func(r adapter.Result) {
		entry := log.Check(levelOf(r), "event")
		if entry == nil {
			return
		}
		fields := make([]zap.Field, 0, 14)
		fields = append(fields, zap.String("outcome", r.Outcome.String()))
		for _, field := range [...]struct{ key, value string }{
			{"reason", string(r.Reason)}, {"message_id", bounded(r.MessageID)}, {"idempotency_key", r.IdempotencyKey},
			{"event_key", r.EventKey}, {"detail", r.Detail},
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

// levelOf makes loud what somebody has to look at.
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
		case mapping.ReasonUnauthorized, mapping.ReasonForbidden, mapping.ReasonTenantNotFound, mapping.ReasonRedirected, mapping.ReasonUnexpectedAnswer:
			return zap.ErrorLevel
		}
	}
	return zap.WarnLevel
}

// maxLogged bounds a messageId in the log, in bytes; Segment allows 100 characters.
const maxLogged = 256

func bounded(text string) string {
	if len(text) > maxLogged {
		return text[:maxLogged] + "…"
	}
	return text
}
