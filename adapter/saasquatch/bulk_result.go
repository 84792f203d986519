package saasquatch

import (
	"fmt"
	"net/http"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// bulkCall is a bulk call with its answer.
type bulkCall struct {
	kind    *bulkKind
	items   []item
	private mask
	response
}

// conclude returns the result of a call that has an answer.
func (b *bulkCall) conclude(answer *bulkAnswer) adapter.BulkAttempt {
	failure, err := answer.first(answer.data)
	switch {
	case !succeeded(b.status):
		if failure != nil && !b.body.failure.stated {
			b.body.failure, _ = failure.stated()
		}
		return b.refused(b.status, answer)
	case b.body.form == formOther:
		return b.refused(noStatus, answer)
	case answer.broke == errTooLong:
		return b.unclear("the answer is too long")
	case answer.broke != nil:
		return b.brokeOff(answer.broke)
	case b.body.form == formEmpty:
		return b.unclear("the answer has no body")
	case err != nil:
		return b.unclear(err.Error())
	case failure != nil:
		return b.failedWhole(failure, answer)
	case !answer.listed:
		return b.unclear("the answer has no list")
	case answer.count != len(b.items):
		return b.unclear(fmt.Sprintf("the list has %d results for %d", answer.count, len(b.items)))
	case answer.bare.stated:
		return b.unclear("the answer has an error beside its list")
	case answer.strange:
		return b.unclear("a result in the list is not at its place, or is none")
	case !believable(answer.refused, len(b.items)):
		return b.unclear("the list has different errors, and no success that shows their order")
	default:
		return b.each(answer.refused)
	}
}

// believable reports whether the errors in a complete list are those of the items at their places. An error names no
// user. A success at its own place shows that the list has the order of the call. Without one, only errors that are
// all the same need no order.
func believable(refused []refusedItem, items int) bool {
	if len(refused) < items {
		return true
	}
	for i := range refused {
		if !refused[0].failure.same(&refused[i].failure) {
			return false
		}
	}
	return true
}

// same reports whether two errors are classified in the same way. Their messages may differ.
func (e *apiError) same(other *apiError) bool {
	return e.StatusCode == other.StatusCode && e.APIErrorCode == other.APIErrorCode && e.RSCode == other.RSCode
}

// each returns the result of a call with a list that counts.
func (b *bulkCall) each(refused []refusedItem) adapter.BulkAttempt {
	result := adapter.BulkAttempt{Items: make([]adapter.Attempt, len(b.items))}
	for i := range result.Items {
		result.Items[i] = adapter.Attempt{Outcome: adapter.Delivered, Status: b.status}
	}
	messages := make([]string, len(refused))
	for i := range refused {
		_, messages[i] = refused[i].failure.words()
	}
	if len(refused) > 0 {
		b.private.expect(messages)
	}
	settled := len(b.items) - len(refused)
	alike := settled == 0
	details := make(map[apiError]string)
	for i := range refused {
		at, failure := refused[i].at, &refused[i].failure
		detail, known := details[*failure]
		if !known {
			detail = failure.detail(b.status, &b.private)
			details[*failure] = detail
		}
		attempt := b.one(at, failure, detail, alike)
		if attempt.Outcome.Settled() || attempt.RefusedFields != nil {
			settled++
		}
		result.Items[at] = attempt
	}
	result.Call = adapter.Attempt{Outcome: adapter.Delivered, Status: b.status}
	if settled == 0 && len(refused) > 0 {
		result.Call = result.Items[0] // all items have the same error
		result.Call.Alone = false
	}
	result.Call.Requests = 1
	return result
}

// one returns the result of an item with an error. alike says that all items have the same error.
func (b *bulkCall) one(at int, failure *apiError, detail string, alike bool) adapter.Attempt {
	status := failure.status()
	switch {
	case status == 0:
		return b.undecided(detail + ": an error without a status")
	case !alike && b.repeated(at):
		return b.undecided("the call has several items of the user, so the order of their results is unknown")
	}
	attempt := b.kind.classify(status, *failure, b.items[at].keyed)
	if attempt.Outcome == adapter.Delivered {
		return attempt
	}
	attempt.RetryAfter, attempt.Detail = b.retryAfter, detail
	if attempt.RefusedFields != nil {
		attempt.Outcome, attempt.Reason, attempt.Alone = adapter.Pending, mapping.ReasonBulkUnclear, true
	}
	attempt.Unprocessed = attempt.Unprocessed || attempt.Outcome == adapter.Pending && b.kind.idempotent
	return attempt
}

// repeated reports whether another item has the same user.
func (b *bulkCall) repeated(at int) bool {
	for i := range b.items {
		if i != at && b.items[i].userID == b.items[at].userID && b.items[i].accountID == b.items[at].accountID {
			return true
		}
	}
	return false
}

// undecided returns the result of an item that the answer does not decide.
func (b *bulkCall) undecided(detail string) adapter.Attempt {
	return adapter.Attempt{
		Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear, Detail: tidy(detail), Status: b.status,
		RetryAfter: b.retryAfter, Unprocessed: b.kind.idempotent, Alone: true,
	}
}

// unclear returns the result of a call whose answer decides no item.
func (b *bulkCall) unclear(why string) adapter.BulkAttempt {
	undecided := b.undecided(fmt.Sprintf("HTTP %d: %s", b.status, why))
	return b.alone(undecided, undecided)
}

// alone returns the result of a call whose items are to be sent one by one.
func (b *bulkCall) alone(call, item adapter.Attempt) adapter.BulkAttempt {
	item.Alone = true
	result := b.whole(item)
	result.Call = call
	result.Call.Alone, result.Call.Requests = false, 1
	return result
}

// whole returns the result of a call that has the same result for all items.
func (b *bulkCall) whole(attempt adapter.Attempt) adapter.BulkAttempt {
	result := adapter.BulkAttempt{Call: attempt, Items: make([]adapter.Attempt, len(b.items))}
	result.Call.Requests = 1
	for i := range result.Items {
		result.Items[i] = attempt
	}
	return result
}

// failed returns the result of a call without an answer.
func (b *bulkCall) failed(attempt adapter.Attempt) adapter.BulkAttempt {
	attempt.Unprocessed = attempt.Unprocessed || b.kind.idempotent
	return b.whole(attempt)
}

// brokeOff returns the result of a call with a 2xx that broke off.
func (b *bulkCall) brokeOff(err error) adapter.BulkAttempt {
	call := classifyError(err, phaseSent)
	call.Status = b.status
	call.Unprocessed = b.kind.idempotent
	return b.alone(call, b.undecided(fmt.Sprintf("HTTP %d: the answer broke off: %s", b.status, call.Detail)))
}

// failedWhole returns the result of a call with a 2xx and an error of GraphQL.
func (b *bulkCall) failedWhole(failure *graphQLError, answer *bulkAnswer) adapter.BulkAttempt {
	stated, status := failure.stated()
	b.body.failure = stated
	switch {
	case status == 0:
		status = noStatus
	case failure.Extensions.APIError == nil && failure.Extensions.Classification == "" && answer.dataNull:
		status = noStatus // GraphQL began to execute the call
	}
	return b.refused(status, answer)
}

// refused returns the result of a call that failed as a whole, by a status that may be noStatus. It settles no item: a
// status that does for a single one may be that of any other.
func (b *bulkCall) refused(status int, answer *bulkAnswer) adapter.BulkAttempt {
	const keyed = false // a 409 is the conflict of one item
	call := b.judge(status, classify, keyed, &b.private)
	call.Unprocessed = call.Unprocessed && !answer.listed || b.kind.idempotent
	dead := call.Outcome == adapter.Dead
	undecided := b.undecided(call.Detail)
	switch {
	case (dead || call.Foreign) && !answer.listed && (status == http.StatusBadRequest ||
		status == http.StatusRequestEntityTooLarge):
		undecided.Unprocessed = true
		result := b.alone(undecided, undecided)
		result.Divisible = true
		return result
	case dead:
		// By the JavaDoc of SaaSquatch's SDK, HTTP has another status than 2xx only if GraphQL did not get the call.
		undecided.Unprocessed = undecided.Unprocessed || !succeeded(b.status) && status != http.StatusConflict
		return b.alone(undecided, undecided)
	case call.Foreign:
		return b.alone(call, call)
	case answer.listed, status == noStatus:
		return b.alone(call, undecided)
	default:
		return b.whole(call)
	}
}
