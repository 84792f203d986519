package saasquatch

import (
	"strconv"
	"strings"

	"segment-saasquatch/adapter"
)

// SaaSquatch documents these columns for imports of user events: recordNumber,message,apiErrorCode,statusCode for
// errors, and user.accountId,user.id,event.id,event.key,event.dateTriggered and others for results. The names in the
// lines of an import work too.
var (
	errorRows  = rowForm{required: []string{"recordNumber"}, spaced: true}
	resultRows = rowForm{required: []string{"user.id", "userId"}}
)

func recordError(row row) adapter.RecordError {
	refused := adapter.RecordError{Record: -1}
	number, _ := row("recordNumber")
	if record, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64); err == nil && record >= 0 {
		refused.Record = record
	}
	status, _ := row("statusCode", "error.statusCode")
	if code, err := strconv.ParseUint(strings.TrimSpace(status), 10, 15); err == nil {
		refused.StatusCode = int(code)
	}
	message, _ := row("message", "error.message")
	code, _ := row("apiErrorCode", "error.apiErrorCode")
	rsCode, _ := row("rsCode", "error.rsCode")
	refused.Message, refused.APIErrorCode, refused.RSCode = tidy(message), tidy(code), tidy(rsCode)
	return refused
}

func importedEvent(row row) adapter.ImportedEvent {
	var event adapter.ImportedEvent
	event.UserID, _ = row("user.id", "userId")
	event.AccountID, _ = row("user.accountId", "accountId")
	event.EventID, _ = row("event.id")
	event.Key, _ = row("event.key")
	if triggered, ok := row("event.dateTriggered"); ok {
		event.DateTriggered, event.Timed = parseMillis(strings.TrimSpace(triggered))
	}
	return event
}
