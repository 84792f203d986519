package mapping

// Reason says why an event has its outcome. The values are a closed set and a public
// contract: they show in answers, logs and metrics. The mapping itself gives reasons to
// skip and to reject. Delivery and replay give the others.
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
	// ReasonConflictAfterFailure: 409 after an attempt of ours that failed, or after
	// a 404 in the same attempt. It counts as delivered, yet SaaSquatch does not say whether a failed attempt
	// uses up its key, so these are counted apart.
	ReasonConflictAfterFailure Reason = "conflict_after_failure"
	// ReasonRecentlyDelivered: the same event is among the last 100 000 that this
	// process delivered, so it was not sent again.
	ReasonRecentlyDelivered Reason = "recently_delivered"
	// ReasonAlreadyDelivered: the ledger holds the event as delivered, so it was
	// not sent again.
	ReasonAlreadyDelivered Reason = "already_delivered"
	// ReasonAlreadyAccepted: the same event is pending already.
	ReasonAlreadyAccepted Reason = "already_accepted"

	// ReasonIntegrationDisabled: the event's integrations object switches the
	// destination off. Segment itself heeds it for webhooks, but not for archives.
	ReasonIntegrationDisabled Reason = "integration_disabled"
	// ReasonConsentDenied: the event denies a category of consent that the replay asks
	// for.
	ReasonConsentDenied Reason = "consent_denied"
	// ReasonFilteredEvent, ReasonFilteredUser, ReasonFilteredTime,
	// ReasonFilteredWhere and ReasonFilteredSample: a filter of the replay leaves
	// the event out.
	ReasonFilteredEvent  Reason = "filtered_event"
	ReasonFilteredUser   Reason = "filtered_user"
	ReasonFilteredTime   Reason = "filtered_time"
	ReasonFilteredWhere  Reason = "filtered_where"
	ReasonFilteredSample Reason = "filtered_sample"
	// ReasonFilteredWhereFailed: the condition of the replay fails over the event, so
	// that nothing says whether the event is wanted.
	ReasonFilteredWhereFailed Reason = "filtered_where_failed"
	// ReasonFilteredIdentify: a replay leaves identify calls out.
	ReasonFilteredIdentify Reason = "filtered_identify"
	// ReasonIdentifySuperseded: the archive or the ledger has a newer identify call of
	// the user.
	ReasonIdentifySuperseded Reason = "identify_superseded"

	// ReasonImportAborted: SaaSquatch gave several import jobs with the event up. It
	// may have processed it all the same.
	ReasonImportAborted Reason = "import_aborted"
	// ReasonUserNotFound: 404 with SaaSquatch's error object: it does not know the user or
	// account.
	ReasonUserNotFound Reason = "user_not_found"
	// ReasonConflictWithoutKey: 409 to a request that carried no key.
	ReasonConflictWithoutKey Reason = "conflict_without_key"
	// ReasonRefused: 400, 402, 422 and every other 4xx that names no cure, with
	// SaaSquatch's error object.
	ReasonRefused Reason = "refused"
	// ReasonDoNotTrack: SaaSquatch has the user marked as not to be tracked (RS050).
	ReasonDoNotTrack Reason = "do_not_track"
	// ReasonHorizonOver: no attempt succeeded within the retry horizon. After it
	// SaaSquatch may have forgotten the event's key, so another attempt could
	// deliver the event a second time.
	ReasonHorizonOver Reason = "horizon_over"
	// ReasonUnkeyedAmbiguous: an event without an idempotency key may have been
	// processed by an attempt whose answer is not known, and the configuration
	// asks not to risk sending it a second time.
	ReasonUnkeyedAmbiguous Reason = "unkeyed_ambiguous"

	// ReasonRestored: the store was restored from a backup, after which the event may have
	// been delivered. To send it could have it counted twice, so an operator decides.
	ReasonRestored Reason = "restored"

	// ReasonPayloadDamaged: the stored payload does not match its checksum, so the event
	// is not sent. The Segment archive has it.
	ReasonPayloadDamaged Reason = "payload_damaged"

	// ReasonUnauthorized: 401, the API key is wrong.
	ReasonUnauthorized Reason = "unauthorized"
	// ReasonForbidden: 403, the tenant does not allow this call.
	ReasonForbidden Reason = "forbidden"
	// ReasonTenantNotFound: 404 with TENANT_NOT_FOUND, the tenant alias is wrong. To an
	// upsert, which creates what is missing, an error object of 404 without a code says
	// as much.
	ReasonTenantNotFound Reason = "tenant_not_found"
	// ReasonRedirected: 3xx, the base URL is wrong; POSTs follow no redirects.
	ReasonRedirected Reason = "redirected"

	// ReasonUnexpectedAnswer: an answer that is not SaaSquatch's. After a 2xx with a
	// page of HTML or any other body than an object, the event may have been processed.
	// A 4xx without SaaSquatch's error object may be about every event, as with a wrong
	// base URL, or about this one; it is dead if others get proper answers.
	ReasonUnexpectedAnswer Reason = "unexpected_answer"

	// ReasonRateLimited: 429.
	ReasonRateLimited Reason = "rate_limited"
	// ReasonServerError: 5xx.
	ReasonServerError Reason = "server_error"
	// ReasonTimeout: 408, 425 or no answer within the attempt's time.
	ReasonTimeout Reason = "timeout"
	// ReasonNetworkError: no HTTP answer at all.
	ReasonNetworkError Reason = "network_error"
	// ReasonUnreadableAnswer: 2xx, but the answer is not what the call documents.
	// Only calls other than that which delivers an event need their answer.
	ReasonUnreadableAnswer Reason = "unreadable_answer"
	// ReasonAccepted: the event is on disk and waits for its first attempt.
	ReasonAccepted Reason = "accepted"
	// ReasonTenantChanged: the event was accepted for another tenant than its
	// connection has now. It waits until an operator moves it, or the connection has
	// that tenant again.
	ReasonTenantChanged Reason = "tenant_changed"
	// ReasonConnectionRemoved: the configuration has no connection with the name of
	// the event's. It waits until there is one again.
	ReasonConnectionRemoved Reason = "connection_removed"
	// ReasonInternalError: a fault of this program; the log has the details.
	ReasonInternalError Reason = "internal_error"
	// ReasonBudgetExceeded: the time for the answer to Segment was over before
	// this event had its turn.
	ReasonBudgetExceeded Reason = "budget_exceeded"
)
