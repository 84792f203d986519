package mapping

// Reason says why an event has its outcome. The values are a closed set and a public contract: they show in answers,
// logs and metrics. The mapping itself gives reasons to skip and to reject. Delivery and replay give the others.
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
	// RejectExpressionFailed: an expression of the configuration fails for the event, or returns an invalid value. On
	// an overloaded machine, another attempt may succeed; see [jsonata.ErrTimeout].
	RejectExpressionFailed Reason = "expression_failed"
)

// Reasons that delivery and replay give.
const (
	// ReasonConflict: 409, the idempotency key was used within SaaSquatch's 24 h.
	ReasonConflict Reason = "conflict"
	// ReasonConflictAfterFailure: 409 after a failed attempt of ours, or after a 404 in the same attempt. It counts
	// as delivered. SaaSquatch does not say whether a failed attempt uses up its key, so these have a count of their
	// own.
	ReasonConflictAfterFailure Reason = "conflict_after_failure"
	// ReasonRecentlyDelivered: the same event is among the last 100 000 that this process delivered, so it was not
	// sent again.
	ReasonRecentlyDelivered Reason = "recently_delivered"
	// ReasonAlreadyDelivered: the ledger holds the event as delivered, so it was not sent again.
	ReasonAlreadyDelivered Reason = "already_delivered"
	// ReasonAlreadyAccepted: the same event is already pending.
	ReasonAlreadyAccepted Reason = "already_accepted"

	// ReasonIntegrationDisabled: the event's integrations object switches the destination off. Segment applies it to
	// webhooks, but not to archives.
	ReasonIntegrationDisabled Reason = "integration_disabled"
	// ReasonConsentDenied: the event denies a category of consent that the replay requires.
	ReasonConsentDenied Reason = "consent_denied"
	// ReasonFilteredEvent, ReasonFilteredUser, ReasonFilteredTime, ReasonFilteredWhere and ReasonFilteredSample: a
	// filter of the replay leaves out the event.
	ReasonFilteredEvent  Reason = "filtered_event"
	ReasonFilteredUser   Reason = "filtered_user"
	ReasonFilteredTime   Reason = "filtered_time"
	ReasonFilteredWhere  Reason = "filtered_where"
	ReasonFilteredSample Reason = "filtered_sample"
	// ReasonFilteredWhereFailed: the condition of the replay fails for the event, so it is unknown whether the event
	// is wanted.
	ReasonFilteredWhereFailed Reason = "filtered_where_failed"
	// ReasonFilteredIdentify: the replay leaves out identify calls.
	ReasonFilteredIdentify Reason = "filtered_identify"
	// ReasonIdentifySuperseded: the archive or the ledger has a newer identify call of the user.
	ReasonIdentifySuperseded Reason = "identify_superseded"

	// ReasonImportAborted: SaaSquatch gave up several import jobs with the event. It may have processed the event
	// nevertheless.
	ReasonImportAborted Reason = "import_aborted"
	// ReasonUserNotFound: 404 with SaaSquatch's error object. SaaSquatch does not know the user or account.
	ReasonUserNotFound Reason = "user_not_found"
	// ReasonConflictWithoutKey: 409 to a request without a key.
	ReasonConflictWithoutKey Reason = "conflict_without_key"
	// ReasonRefused: 400, 402, 422 or another 4xx without a remedy, with SaaSquatch's error object.
	ReasonRefused Reason = "refused"
	// ReasonDoNotTrack: SaaSquatch must not track the user (RS050).
	ReasonDoNotTrack Reason = "do_not_track"
	// ReasonHorizonOver: no attempt succeeded within the retry horizon. Afterwards SaaSquatch may have forgotten the
	// event's key, so another attempt could deliver the event twice.
	ReasonHorizonOver Reason = "horizon_over"
	// ReasonUnkeyedAmbiguous: an attempt without a known answer may have delivered this event without a key. The
	// configuration forbids the risk of sending it twice.
	ReasonUnkeyedAmbiguous Reason = "unkeyed_ambiguous"

	// ReasonRestored: the store was restored from a backup, and the event may have been delivered after the backup.
	// Another attempt could count it twice, so an operator decides.
	ReasonRestored Reason = "restored"

	// ReasonPayloadDamaged: the stored payload does not match its checksum, so the event is not sent. The Segment
	// archive has it.
	ReasonPayloadDamaged Reason = "payload_damaged"

	// ReasonUnauthorized: 401, the API key is wrong.
	ReasonUnauthorized Reason = "unauthorized"
	// ReasonForbidden: 403, the tenant does not allow this call.
	ReasonForbidden Reason = "forbidden"
	// ReasonTenantNotFound: 404 with TENANT_NOT_FOUND, the tenant alias is wrong. An upsert creates a missing user,
	// so a 404 with an error object without a code means the same there.
	ReasonTenantNotFound Reason = "tenant_not_found"
	// ReasonRedirected: 3xx, the base URL is wrong; POSTs follow no redirects.
	ReasonRedirected Reason = "redirected"

	// ReasonUnexpectedAnswer: the answer does not come from SaaSquatch. After a 2xx with HTML or another body that is
	// no object, the event may have been processed. A 4xx without SaaSquatch's error object may concern every event,
	// as with a wrong base URL, or this one. The event is dead if others get proper answers.
	ReasonUnexpectedAnswer Reason = "unexpected_answer"

	// ReasonBulkUnclear: the answer to a call for several events does not tell what became of this one. The next
	// attempt is a call for the event alone.
	ReasonBulkUnclear Reason = "bulk_unclear"

	// ReasonRateLimited: 429.
	ReasonRateLimited Reason = "rate_limited"
	// ReasonServerError: 5xx.
	ReasonServerError Reason = "server_error"
	// ReasonTimeout: 408, 425 or no answer within the attempt's time.
	ReasonTimeout Reason = "timeout"
	// ReasonNetworkError: no HTTP answer at all.
	ReasonNetworkError Reason = "network_error"
	// ReasonUnreadableAnswer: 2xx, but the answer is not in the documented form. Only calls that deliver no event
	// need their answer.
	ReasonUnreadableAnswer Reason = "unreadable_answer"
	// ReasonAccepted: the event is on disk and waits for its first attempt.
	ReasonAccepted Reason = "accepted"
	// ReasonTenantChanged: the event was accepted for another tenant than its connection has now. It waits until an
	// operator moves it, or the connection has that tenant again.
	ReasonTenantChanged Reason = "tenant_changed"
	// ReasonConnectionRemoved: the configuration has no connection with the name of the event's connection. The event
	// waits until there is one again.
	ReasonConnectionRemoved Reason = "connection_removed"
	// ReasonInternalError: a fault of this program; the log has the details.
	ReasonInternalError Reason = "internal_error"
	// ReasonBudgetExceeded: the time for the answer to Segment ended before this event's turn.
	ReasonBudgetExceeded Reason = "budget_exceeded"
)
