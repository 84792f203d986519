package mapping

// Reason says why an event is skipped or rejected. The values are a closed set
// and a public contract.
type Reason string

// Reasons to skip: the call is valid and has nothing to send.
const (
	SkipUnsupportedType   Reason = "unsupported_type"
	SkipNoUserID          Reason = "no_user_id"
	SkipPlaceholderUserID Reason = "placeholder_user_id"
	SkipEventNotSelected  Reason = "event_not_selected"
	SkipOutsideTimeWindow Reason = "outside_time_window"
	SkipIdentifyDisabled  Reason = "identify_disabled"
)

// Reasons to reject: the event can never be sent.
const (
	RejectInvalidJSON      Reason = "invalid_json"
	RejectMissingType      Reason = "missing_type"
	RejectInvalidUserID    Reason = "invalid_user_id"
	RejectInvalidAccountID Reason = "invalid_account_id"
	RejectMissingEventName Reason = "missing_event_name"
	RejectEmptyEventKey    Reason = "empty_event_key"
	RejectUnsupportedValue Reason = "unsupported_value"
	// RejectExpressionFailed: an expression of the configuration fails over the
	// event, or yields what it must not. It may succeed over the same event when the
	// machine was overloaded; see [jsonata.ErrTimeout].
	RejectExpressionFailed Reason = "expression_failed"
)
