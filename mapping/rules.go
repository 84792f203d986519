package mapping

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// InvalidValues says what becomes of a top-level field that holds a value
// SaaSquatch does not support: an array directly inside an array, nesting deeper
// than 20, or a number beyond the range of a double (M12, M13).
type InvalidValues string

const (
	// InvalidStringify sends the value's compact JSON text as a string.
	InvalidStringify InvalidValues = "stringify"
	// InvalidNull sends null.
	InvalidNull InvalidValues = "null"
	// InvalidDiscardEvent rejects the event as unsupported_value.
	InvalidDiscardEvent InvalidValues = "discard_event"
)

// Limits of the mapping. Where SaaSquatch publishes none, the number is that of
// its own Segment integration.
const (
	// MaxNesting is how deep objects and arrays may nest in an event (M1).
	MaxNesting = 64
	// MaxFieldNesting is how deep objects and arrays may nest in one field (M13).
	MaxFieldNesting = 20
	// MaxIDBytes is the length of a userId or accountId in UTF-8 bytes (M4, M5).
	MaxIDBytes = 1500
	// MaxNameLength is the length of event keys and field names in characters (M7, M11).
	MaxNameLength = 64
	// MaxStringChars is the length of a string in code points (M12).
	MaxStringChars = 1024
	// MaxStringBytes is the length of a string in UTF-8 bytes, published in
	// SaaSquatch's API definition of the Track User Event call (M12).
	MaxStringBytes = 1500
	// MaxOrderStringChars is the length of a string in a purchase or refund in
	// code points, from SaaSquatch's purchase schema (M14).
	MaxOrderStringChars = 375
	// MaxProducts is the number of products in a purchase or refund, from
	// SaaSquatch's purchase schema (M14).
	MaxProducts = 200
	// MaxCustomFields is the number of custom fields in one upsert, from SaaSquatch's
	// schema of them (M20).
	MaxCustomFields = 100

	day = 24 * time.Hour
	// DefaultMaxAge is the age at which SaaSquatch's own integration discards events (M10).
	DefaultMaxAge = 180 * day
	// DefaultMaxAhead is how far in the future its integration accepts events (M10).
	DefaultMaxAhead = 90 * day
)

// Rules are the choices a configuration makes. Start from [DefaultRules]: the
// zero value turns off what is on by default.
type Rules struct {
	// AccountID lists the paths, such as "context.groupId", whose first
	// non-blank string or number is the accountId; a placeholder counts as blank. A
	// path may begin with "$." (M5). Default: userId.
	AccountID []string
	// PlaceholderUserIDs are userIds that broken clients send for no user, in any case
	// and with white space or invisible characters around them. Their calls are skipped
	// (M4). An empty list skips none. Default: [DefaultPlaceholderUserIDs].
	PlaceholderUserIDs []string
	// Only, if not empty, names the events to send, exactly as Segment has them (M6).
	Only []string
	// Except names the events not to send (M6).
	Except []string
	// Keys gives event keys for exact event names, sent verbatim (M7).
	Keys map[string]string
	// RemapOrders makes Order Completed a purchase and Order Refunded a refund (M7). Default: true.
	RemapOrders bool
	// ConformOrders fits purchase and refund to SaaSquatch's closed schemas (M14). Default: true.
	ConformOrders bool
	// RevenueScale multiplies the money fields of purchase and refund, as a
	// decimal number such as "100" or "0.01" (M14). Default: 1, which leaves them alone.
	RevenueScale string
	// InvalidValues decides about values that SaaSquatch does not support (M13). Default: stringify.
	InvalidValues InvalidValues
	// AnyAge turns the time window off (M10). Default: false.
	AnyAge bool
	// MaxAge is the oldest an event may be, at least 0 (M10). Default: 180 days.
	MaxAge time.Duration
	// MaxAhead is how far in the future an event may be, at least 0 (M10). Default: 90 days.
	MaxAhead time.Duration
	// Transform is a JSONata expression over the mapped event, exactly the element
	// of events in its body: {"key":…,"fields":{…},"dateTriggered":…}, where fields
	// and dateTriggered may be absent. It yields such an object to send instead, with
	// no other members and a key of 1 to 64 characters; its fields are held to M11 to M13
	// once more, not to M14. Nothing and null leave the event out, as
	// event_not_selected. Default: none.
	Transform string
	// Identify upserts the users of identify calls (M15). Default: true.
	Identify bool
	// Segments is a JSONata expression over an identify call that yields its segment
	// operations, a string or an array of strings; nothing and null are none (M21).
	// Default: none.
	Segments string
	// InvalidSegments decides about operations that SaaSquatch does not take (M21).
	// Default: discard_invalid.
	InvalidSegments InvalidSegments
	// FromTrack says whether a track call's user is upserted: never, missing or
	// always, or a JSONata expression over the call that yields NEVER, MISSING_USER
	// or ALWAYS (M22). Default: missing.
	FromTrack string
	// FromTrackBody is a JSONata expression over a track call that yields the fields
	// of that upsert, an object (M22). The ids are always those of M4 and M5. What
	// identify calls are held to holds for its fields too; those that SaaSquatch's open
	// user upsert does not have are dropped, and so are custom fields beyond 100. Nothing and null
	// are an upsert of the ids alone. Default: none, which is the same.
	FromTrackBody string
}

// DefaultRules returns the rules that hold without a configuration.
func DefaultRules() Rules {
	return Rules{
		AccountID:          []string{"userId"},
		PlaceholderUserIDs: DefaultPlaceholderUserIDs(),
		RemapOrders:        true,
		ConformOrders:      true,
		RevenueScale:       "1",
		InvalidValues:      InvalidStringify,
		MaxAge:             DefaultMaxAge,
		MaxAhead:           DefaultMaxAhead,

		Identify:        true,
		InvalidSegments: SegmentsDiscardInvalid,
		FromTrack:       FromTrackMissing,
	}
}

// RuleError is one fault of the Rules.
type RuleError struct {
	// Key is the configuration key, such as "events.keys".
	Key string
	// Problem says what is wrong and what would be right.
	Problem string
}

func (e *RuleError) Error() string { return e.Key + ": " + e.Problem }

// Validate returns every fault at once, joined; each is a [*RuleError].
func (r *Rules) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, &RuleError{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
	if len(r.AccountID) == 0 {
		fault("account_id", "is empty: name at least one path, such as userId")
	}
	for _, path := range r.AccountID {
		if _, wrong := accountPath(path); wrong != "" {
			fault("account_id", "%s", wrong)
		}
	}
	for _, id := range r.PlaceholderUserIDs {
		if isBlank([]byte(id)) {
			fault("placeholder_user_ids", "%q is blank: remove it, for a blank userId is skipped anyway", id)
		}
	}
	if len(r.Only) > 0 && len(r.Except) > 0 {
		fault("events.only", "cannot stand beside events.except: keep one of them")
	}
	for name, key := range r.Keys {
		if strings.TrimSpace(key) == "" {
			fault("events.keys", "the key of %q is blank: give it a key or remove the entry", name)
		} else if strings.ContainsFunc(key, unicode.IsControl) {
			fault("events.keys", "the key of %q holds a control character: remove it", name)
		}
	}
	if _, err := parseScale(r.RevenueScale); err != nil {
		fault("events.revenue_scale", "%v", err)
	}
	switch r.InvalidValues {
	case InvalidStringify, InvalidNull, InvalidDiscardEvent:
	default:
		fault("invalid_values", "is %q: use %s, %s or %s", r.InvalidValues, InvalidStringify, InvalidNull, InvalidDiscardEvent)
	}
	if r.MaxAge < 0 {
		fault("max_age", "is negative: use any_age: true to accept events of any age")
	}
	if r.MaxAhead < 0 {
		fault("max_ahead", "is negative: use any_age: true to accept events of any age")
	}
	switch r.InvalidSegments {
	case SegmentsDiscardInvalid, SegmentsDiscardAll, SegmentsSanitize:
	default:
		fault("users.invalid_segments", "is %q: use %s, %s or %s", r.InvalidSegments, SegmentsDiscardInvalid, SegmentsDiscardAll, SegmentsSanitize)
	}
	compiled := compiledRules{Rules: *r}
	return errors.Join(append(faults, compiled.compile()...)...)
}
