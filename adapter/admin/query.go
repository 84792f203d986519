package admin

import (
	"errors"
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
	ofFilter = []string{
		"before", "connection", "event", "event_key", "id", "message_id", "outcome", "reason", "run", "since",
		"tenant",
		"until", "user",
	}
	ofMany   = append(slices.Clip(ofFilter), "limit")
	ofChange = append(slices.Clip(ofMany), "dry_run")
	ofMove   = append(slices.Clip(ofChange), "to_tenant")
)

// repeatable are the parameters of which a request may have several.
var repeatable = []string{"id", "outcome"}

// parameters reads each of the parameters that are known.
var parameters = map[string]func(*query, string) error{
	"id": func(q *query, text string) error {
		id, err := parseID(text, "want the number of a delivery, such as 1")
		q.filter.IDs = append(q.filter.IDs, id)
		return err
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
		q.filter.Run, err = parseID(text, "want the number of a replay, such as 1")
		return err
	},
	"since": func(q *query, text string) (err error) { q.filter.Since, err = parseTime(text); return err },
	"until": func(q *query, text string) (err error) { q.filter.Until, err = parseTime(text); return err },
	"before": func(q *query, text string) (err error) {
		q.filter.Before, err = parseID(text, "want the number of a delivery, to go on below it")
		return err
	},
	"limit": func(q *query, text string) (err error) {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 0 {
			return errors.New("want a whole number, 0 for no limit")
		}
		return nil
	},
	"tenant":    func(q *query, text string) error { q.filter.Tenant = text; return nil },
	"to_tenant": func(q *query, text string) error { q.toTenant = text; return nil },
	"dry_run": func(q *query, text string) (err error) {
		if q.dry, err = strconv.ParseBool(text); err != nil {
			return errors.New("want true or false")
		}
		return nil
	},
}

func parseID(text, problem string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, errors.New(problem)
	}
	return id, nil
}

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, errors.New("want a time such as 2006-01-02T15:04:05Z")
	}
	return t, nil
}

// parseQuery reads the parameters of an operation. It refuses one that the operation does not take, one that is empty
// or malformed, and one that is given twice: an ignored filter would pick more than the operator meant.
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

// badQueryError describes a wrong parameter.
type badQueryError struct{ parameter, problem string }

func (e *badQueryError) Error() string {
	name := e.parameter
	if !plainName.MatchString(name) {
		name = fmt.Sprintf("%.60q", name)
	}
	return "parameter " + name + " " + e.problem
}

// plainName matches names that need no quotes in a message.
var plainName = regexp.MustCompile(`^[a-z_]{1,60}$`)

// names returns the names of the parameters but dry_run, in alphabetical order. The log gets no values: they may be
// user ids.
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
	setTime := func(name string, t time.Time) {
		if !t.IsZero() {
			set(name, t.Format(time.RFC3339Nano))
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
	setTime("since", f.Since)
	setTime("until", f.Until)
	for name, n := range map[string]int64{"run": f.Run, "before": f.Before, "limit": int64(q.limit)} {
		if n > 0 {
			set(name, strconv.FormatInt(n, 10))
		}
	}
	set("tenant", f.Tenant)
	if q.dry {
		set("dry_run", "true")
	}
	set("to_tenant", q.toTenant)
	return values
}
