package admin

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// query is what a request asks for.
type query struct {
	filter adapter.Filter
	limit  int
	dry    bool
	// toTenant is the alias of the tenant to move deliveries to, empty to leave them.
	toTenant string
}

// Limits of lists.
const (
	defaultLimit = 50
	maxLimit     = 10_000
)

// Parameters that an operation takes.
var (
	ofFilter = []string{"before", "connection", "event", "event_key", "id", "message_id", "outcome", "reason", "run", "since", "tenant", "until", "user"}
	ofMany   = append(slices.Clip(ofFilter), "limit")
	ofChange = append(slices.Clip(ofMany), "dry_run")
	ofMove   = append(slices.Clip(ofChange), "to_tenant")
)

// repeatable are the parameters of which a request may have several.
var repeatable = []string{"id", "outcome"}

// parameters reads each of the parameters that are known.
var parameters = map[string]func(*query, string) error{
	"id": func(q *query, text string) error {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			return fmt.Errorf("want the number of a delivery, such as 1")
		}
		q.filter.IDs = append(q.filter.IDs, id)
		return nil
	},
	"connection": func(q *query, text string) error { q.filter.Connection = text; return nil },
	"outcome": func(q *query, text string) error {
		for name := range strings.SplitSeq(text, ",") {
			var outcome adapter.Outcome
			if err := outcome.UnmarshalText([]byte(strings.TrimSpace(name))); err != nil {
				return err
			}
			q.filter.Outcomes = append(q.filter.Outcomes, outcome)
		}
		return nil
	},
	"reason":     func(q *query, text string) error { q.filter.Reason = mapping.Reason(text); return nil },
	"event":      func(q *query, text string) error { q.filter.Event = text; return nil },
	"event_key":  func(q *query, text string) error { q.filter.EventKey = text; return nil },
	"user":       func(q *query, text string) error { q.filter.UserID = text; return nil },
	"message_id": func(q *query, text string) error { q.filter.MessageID = text; return nil },
	"run": func(q *query, text string) (err error) {
		if q.filter.Run, err = strconv.ParseInt(text, 10, 64); err != nil || q.filter.Run < 1 {
			return fmt.Errorf("want the number of a replay, such as 1")
		}
		return nil
	},
	"since": func(q *query, text string) (err error) { q.filter.Since, err = parseTime(text); return err },
	"until": func(q *query, text string) (err error) { q.filter.Until, err = parseTime(text); return err },
	"before": func(q *query, text string) (err error) {
		if q.filter.Before, err = strconv.ParseInt(text, 10, 64); err != nil || q.filter.Before < 1 {
			return fmt.Errorf("want the number of a delivery, to go on below it")
		}
		return nil
	},
	"limit": func(q *query, text string) (err error) {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 0 {
			return fmt.Errorf("want a whole number, 0 for no limit")
		}
		return nil
	},
	"tenant":    func(q *query, text string) error { q.filter.Tenant = text; return nil },
	"to_tenant": func(q *query, text string) error { q.toTenant = text; return nil },
	"dry_run": func(q *query, text string) (err error) {
		if q.dry, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("want true or false")
		}
		return nil
	},
}

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("want a time such as 2006-01-02T15:04:05Z")
	}
	return t, nil
}

// parseQuery reads the parameters of an operation. None may be unknown to it, empty,
// malformed or there twice: a filter that is overlooked would pick more than was
// meant.
func parseQuery(text string, taken []string) (*query, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, fmt.Errorf("the query is malformed: %w; separate parameters by & and escape them as in a URL", err)
	}
	q := &query{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !slices.Contains(taken, name):
			known := "none is taken here"
			if len(taken) > 0 {
				known = "known are " + strings.Join(slices.Sorted(slices.Values(taken)), ", ")
			}
			return nil, &badQueryError{name, "is unknown: " + known}
		case len(values[name]) > 1 && !slices.Contains(repeatable, name):
			return nil, &badQueryError{name, "is there twice: give it one value"}
		}
		for _, text := range values[name] {
			if text == "" {
				return nil, &badQueryError{name, "is empty: leave it out or give it a value"}
			}
			if err := parameters[name](q, text); err != nil {
				return nil, &badQueryError{name, fmt.Sprintf("is %.60q: %v", text, err)}
			}
		}
	}
	return q, nil
}

// badQueryError is a parameter that is wrong.
type badQueryError struct{ parameter, problem string }

func (e *badQueryError) Error() string {
	name := e.parameter
	if !plainName.MatchString(name) {
		name = fmt.Sprintf("%.60q", name)
	}
	return "parameter " + name + " " + e.problem
}

// plainName are names that need no quotes in a message.
var plainName = regexp.MustCompile(`^[a-z_]{1,60}$`)

// names returns the names of the parameters that pick deliveries, in alphabetical order.
// Their values may be ids of users.
func (q *query) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(q.encode())), func(name string) bool { return name == "dry_run" })
}

// encode writes the parameters that parseQuery reads.
func (q *query) encode() url.Values {
	values := make(url.Values)
	set := func(name, text string) {
		if text != "" {
			values.Add(name, text)
		}
	}
	f := &q.filter
	for _, id := range f.IDs {
		set("id", strconv.FormatInt(id, 10))
	}
	set("connection", f.Connection)
	for _, outcome := range f.Outcomes {
		set("outcome", outcome.String())
	}
	set("reason", string(f.Reason))
	set("event", f.Event)
	set("event_key", f.EventKey)
	set("user", f.UserID)
	set("message_id", f.MessageID)
	if f.Run > 0 {
		set("run", strconv.FormatInt(f.Run, 10))
	}
	if !f.Since.IsZero() {
		set("since", f.Since.Format(time.RFC3339Nano))
	}
	if !f.Until.IsZero() {
		set("until", f.Until.Format(time.RFC3339Nano))
	}
	if f.Before > 0 {
		set("before", strconv.FormatInt(f.Before, 10))
	}
	if q.limit > 0 {
		set("limit", strconv.Itoa(q.limit))
	}
	set("tenant", f.Tenant)
	if q.dry {
		set("dry_run", "true")
	}
	set("to_tenant", q.toTenant)
	return values
}
