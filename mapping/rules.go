package mapping

import "time"

// InvalidValues says how to send a top-level field with a value that SaaSquatch does not support: an array directly
// inside an array, nesting deeper than 20, or a number beyond the range of a double (M12, M13).
type InvalidValues string

const (
	// InvalidStringify sends the value's compact JSON text as a string.
	InvalidStringify InvalidValues = "stringify"
	// InvalidNull sends null.
	InvalidNull InvalidValues = "null"
	// InvalidDiscardEvent rejects the event as unsupported_value.
	InvalidDiscardEvent InvalidValues = "discard_event"
)

// Limits of the mapping. Where SaaSquatch publishes none, the number is that of its own Segment integration.
const (
	// MaxNesting bounds the nesting of objects and arrays in an event (M1).
	MaxNesting = 64
	// MaxFieldNesting bounds the nesting of objects and arrays in one field (M13).
	MaxFieldNesting = 20
	// MaxIDBytes bounds a userId or accountId in UTF-8 bytes (M4, M5).
	MaxIDBytes = 1500
	// MaxNameLength bounds event keys and field names in characters (M7, M11).
	MaxNameLength = 64
	// MaxStringChars bounds a string in code points (M12).
	MaxStringChars = 1024
	// MaxStringBytes bounds a string in UTF-8 bytes. SaaSquatch publishes it in its API definition of the Track User
	// Event call (M12).
	MaxStringBytes = 1500
	// MaxOrderStringChars bounds a string in a purchase or refund in code points, from SaaSquatch's purchase schema
	// (M14).
	MaxOrderStringChars = 375
	// MaxProducts bounds the products in a purchase or refund, from SaaSquatch's purchase schema (M14).
	MaxProducts = 200
	// MaxCustomFields bounds the custom fields in one upsert, from SaaSquatch's schema of them (M20).
	MaxCustomFields = 100

	day = 24 * time.Hour
	// DefaultMaxAge is the age at which SaaSquatch's own integration discards events (M10).
	DefaultMaxAge = 180 * day
	// DefaultMaxAhead is how far in the future SaaSquatch's own integration accepts events (M10).
	DefaultMaxAhead = 90 * day
)

// Rules are the settings of a mapping. Start from [DefaultRules]: the zero value turns off settings that are on by
// default.
type Rules struct {
	// AccountID lists the paths to try for the accountId, such as "context.groupId". The first string or number that
	// is neither blank nor a placeholder counts. A path may begin with "$." (M5). Default: userId.
	AccountID []string
	// PlaceholderUserIDs lists the userIds that broken clients send without a user. They match in any case, with any
	// white space or invisible characters around them. The mapping skips their calls (M4). An empty list skips none.
	// Default: [DefaultPlaceholderUserIDs].
	PlaceholderUserIDs []string
	// Only, if not empty, lists the events to send, by Segment's exact names (M6).
	Only []string
	// Except lists the events not to send, by Segment's exact names (M6).
	Except []string
	// Keys maps exact event names to event keys, which are sent verbatim (M7).
	Keys map[string]string
	// RemapOrders makes Order Completed a purchase and Order Refunded a refund (M7). Default: true.
	RemapOrders bool
	// ConformOrders makes purchase and refund fit SaaSquatch's closed schemas (M14). Default: true.
	ConformOrders bool
	// RevenueScale multiplies the money fields of purchase and refund. It is a decimal number such as "100" or "0.01"
	// (M14). Default: 1, which changes nothing.
	RevenueScale string
	// InvalidValues says how to send values that SaaSquatch does not support (M13). Default: stringify.
	InvalidValues InvalidValues
	// AnyAge turns the time window off (M10). Default: false.
	AnyAge bool
	// MaxAge is the maximum age of an event, at least 0 (M10). Default: 180 days.
	MaxAge time.Duration
	// MaxAhead is how far in the future an event may be, at least 0 (M10). Default: 90 days.
	MaxAhead time.Duration
	// Transform is a JSONata expression over the mapped event, which is the element of events in its body:
	// {"key":…,"fields":{…},"dateTriggered":…}. Fields and dateTriggered may be absent. The expression returns such
	// an object to send instead, with no other members and a key of 1 to 64 characters. M11 to M13 hold for its
	// fields again, M14 does not. Nothing and null leave out the event as event_not_selected. Default: none.
	Transform string
	// Identify upserts the users of identify calls (M15). Default: true.
	Identify bool
	// Segments is a JSONata expression over an identify call. It returns the segment operations, a string or an array
	// of strings. Nothing and null mean no operations (M21). Default: none.
	Segments string
	// InvalidSegments says what happens to operations that SaaSquatch does not accept (M21). Default:
	// discard_invalid.
	InvalidSegments InvalidSegments
	// FromTrack says whether a track call's user is upserted: never, missing or always. It may also be a JSONata
	// expression over the call that returns NEVER, MISSING_USER or ALWAYS (M22). Default: missing.
	FromTrack string
	// FromTrackBody is a JSONata expression over a track call. It returns the fields of that upsert, an object (M22).
	// M4 and M5 always set the ids. The rules of identify calls hold for its fields too. Fields outside SaaSquatch's
	// open user upsert are dropped, and so are custom fields beyond 100. Nothing and null mean an upsert of the ids
	// alone. Default: none, which means the same.
	FromTrackBody string
}

// DefaultRules returns the rules of an empty configuration.
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

// RuleError is one fault in the Rules.
type RuleError struct {
	// Key is the configuration key, such as "events.keys".
	Key string
	// Problem describes the fault and the remedy.
	Problem string
}

func (e *RuleError) Error() string { return e.Key + ": " + e.Problem }

// Validate returns all faults joined. Each is a [*RuleError].
func (r *Rules) Validate() error {
	_, err := r.compile()
	return err
}
