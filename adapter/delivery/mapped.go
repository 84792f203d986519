package delivery

import (
	"slices"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// userOf returns the user of a result that is to be sent.
func userOf(mapped *mapping.Result) user {
	if mapped.Kind == mapping.KindUserUpsert && len(mapped.Upserts) > 0 {
		return user{mapped.Upserts[0].AccountID, mapped.Upserts[0].UserID}
	}
	return user{mapped.UserEvent.AccountID, mapped.UserEvent.UserID}
}

// eventKeyOf returns the event key, or UpsertEventKey for upserts; empty if there is nothing to
// send.
func eventKeyOf(mapped *mapping.Result) string {
	if mapped.Kind == mapping.KindUserUpsert {
		return adapter.UpsertEventKey
	}
	return mapped.UserEvent.Key
}

// toSend reports whether there is anything to send.
func toSend(mapped *mapping.Result) bool {
	return mapped.Kind == mapping.KindUserEvent || mapped.Kind == mapping.KindUserUpsert
}

// repeatable reports whether an attempt can be repeated whatever its result. Upserts are
// idempotent, and SaaSquatch recognises a repeated event by its key for a day.
func repeatable(mapped *mapping.Result) bool {
	return mapped.Kind == mapping.KindUserUpsert || mapped.UserEvent.IdempotencyKey != ""
}

// mergeWarnings returns the warnings of both lists in alphabetical order, each once.
func mergeWarnings(a, b []mapping.Warning) []mapping.Warning {
	if len(b) == 0 {
		return a
	}
	merged := slices.Concat(a, b)
	slices.Sort(merged)
	return slices.Compact(merged)
}
