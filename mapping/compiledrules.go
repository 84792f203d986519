package mapping

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"

	"github.com/cockroachdb/apd/v3"
)

// compiledRules are Rules prepared for use.
type compiledRules struct {
	Rules
	accountID    [][]string
	only, except map[string]struct{}
	scale        *apd.Decimal // nil if nothing is scaled
	// The names that account_id reads of traits, and of context.traits.
	accountTraits, accountContextTraits accountTraits
	placeholders                        placeholders
	// ensure holds for every track call, unless there is a fromTrack.
	ensure Ensure
	// The expressions of the rules; nil for an absent one.
	segments, fromTrack, fromTrackBody, transform *expression
}

// compile returns the rules prepared for use, or all their faults joined. Each is a [*RuleError].
func (r *Rules) compile() (compiled compiledRules, err error) {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, &RuleError{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
	compiled = compiledRules{
		Rules: *r, only: set(r.Only), except: set(r.Except),
		accountTraits: make(accountTraits), accountContextTraits: make(accountTraits),
	}
	compiled.Keys = maps.Clone(r.Keys)
	if len(r.AccountID) == 0 {
		fault("account_id", "is empty: name at least one path, such as userId")
	}
	for _, text := range r.AccountID {
		path, wrong := accountPath(text)
		switch {
		case wrong != "":
			fault("account_id", "%s", wrong)
		case len(path) > 1 && path[0] == "traits":
			compiled.accountTraits[path[1]] = struct{}{}
		case len(path) > 2 && path[0] == "context" && path[1] == "traits":
			compiled.accountContextTraits[path[2]] = struct{}{}
		}
		compiled.accountID = append(compiled.accountID, path)
	}
	for _, id := range r.PlaceholderUserIDs {
		if isBlank([]byte(id)) {
			fault("placeholder_user_ids", "%q is blank: remove it, since a blank userId is skipped anyway", id)
		} else {
			compiled.placeholders.add(id)
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
	if compiled.scale, err = parseScale(r.RevenueScale); err != nil {
		fault("events.revenue_scale", "%v", err)
	}
	switch r.InvalidValues {
	case InvalidStringify, InvalidNull, InvalidDiscardEvent:
	default:
		fault("invalid_values", "is %q: use %s, %s or %s",
			r.InvalidValues, InvalidStringify, InvalidNull, InvalidDiscardEvent)
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
		fault("users.invalid_segments", "is %q: use %s, %s or %s",
			r.InvalidSegments, SegmentsDiscardInvalid, SegmentsDiscardAll, SegmentsSanitize)
	}
	expressions := make([]error, 4)
	compiled.segments, expressions[0] = compileExpression("users.segments", r.Segments)
	compiled.ensure, compiled.fromTrack, expressions[1] = compileFromTrack(r.FromTrack)
	compiled.fromTrackBody, expressions[2] = compileExpression("users.from_track_body", r.FromTrackBody)
	compiled.transform, expressions[3] = compileExpression("events.transform", r.Transform)
	return compiled, errors.Join(append(faults, expressions...)...)
}

func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	members := make(map[string]struct{}, len(names))
	for _, name := range names {
		members[name] = struct{}{}
	}
	return members
}
