package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// ListChange is what happens to the list that a GraphQL mutation with several inputs answers.
type ListChange string

const (
	// Shuffled puts the elements of a list of two or more into another order.
	Shuffled ListChange = "shuffled"
	// Short leaves out an element.
	Short ListChange = "short"
	// Long repeats an element, at the end.
	Long ListChange = "long"
	// Nulled puts null in the place of an element, which the schema forbids.
	Nulled ListChange = "null"
	// Missing puts null in the place of the list, which the schema forbids. The answer has no errors.
	Missing ListChange = "missing"
)

// listChanges are all of them.
var listChanges = []ListChange{Shuffled, Short, Long, Nulled, Missing}

// ListRule changes the lists of a share of the bulk calls. The inputs are processed nevertheless.
type ListRule struct {
	// Rate is the share of the calls, 0 to 1.
	Rate   float64
	Change ListChange
}

// ParseListRule reads a rule such as "5%:shuffled", with the rate as in [ParseRate], or "shuffled" for every call.
func ParseListRule(text string) (ListRule, error) {
	rate, change, hasRate := strings.Cut(text, ":")
	rule := ListRule{Rate: 1, Change: ListChange(change)}
	if !hasRate {
		rule.Change = ListChange(rate)
	} else if number, err := ParseRate(rate); err != nil {
		return ListRule{}, fmt.Errorf("parse change of lists %q: %w", text, err)
	} else {
		rule.Rate = number
	}
	if err := rule.validate(); err != nil {
		return ListRule{}, fmt.Errorf("parse change of lists %q: %w", text, err)
	}
	return rule, nil
}

func (rule ListRule) validate() error {
	switch {
	case !slices.Contains(listChanges, rule.Change):
		return fmt.Errorf("change %q: want one of %q", rule.Change, listChanges)
	case !isShare(rule.Rate):
		return fmt.Errorf("rate %v: want 0 to 1", rule.Rate)
	}
	return nil
}

// validateLists checks each rule, and that the rates add up to at most 1.
func validateLists(rules []ListRule) []error {
	var all []error
	sum := 0.0
	for _, rule := range rules {
		if err := rule.validate(); err != nil {
			all = append(all, fmt.Errorf("lists: %w", err))
		}
		sum += rule.Rate
	}
	if sum > 1+roundingError {
		all = append(all, fmt.Errorf("lists: the rates add up to %v: want at most 1", sum))
	}
	return all
}

// changeLists changes the lists of a bulk call's data, as drawn by the rules. It takes numbers from the random source
// only if there are rules.
func (in *injector) changeLists(data json.RawMessage) (changed json.RawMessage, ok bool) {
	if len(in.faults.Lists) == 0 {
		return data, false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	u := in.rand.Float64()
	for _, rule := range in.faults.Lists {
		if u -= rule.Rate; u < 0 {
			return rule.Change.apply(data, in.rand)
		}
	}
	return data, false
}

// apply changes each list that is a member of the data. Only bulk mutations answer such lists.
func (c ListChange) apply(data json.RawMessage, source *rand.Rand) (changed json.RawMessage, ok bool) {
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	var out []byte
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != jsontext.KindBeginObject {
		return data, false // null, after an error
	}
	for decoder.PeekKind() != jsontext.KindEndObject {
		// Neither can fail: the library wrote the data.
		name, _ := decoder.ReadValue()
		out = append(append(append(out, ','), name...), ':')
		value, _ := decoder.ReadValue()
		var list []json.RawMessage
		if value.Kind() != jsontext.KindBeginArray || json.Unmarshal(value, &list) != nil || len(list) < c.least() {
			out = append(out, value...)
			continue
		}
		ok = true
		if c == Missing {
			out = append(out, "null"...)
			continue
		}
		text, _ := json.Marshal(c.list(list, source))
		out = append(out, text...)
	}
	if !ok {
		return data, false
	}
	out[0] = '{' // instead of the first comma
	return append(out, '}'), true
}

// least is the length of the shortest list that can be changed.
func (c ListChange) least() int {
	if c == Shuffled {
		return 2
	}
	return 1
}

// list changes a list of at least that length.
func (c ListChange) list(list []json.RawMessage, source *rand.Rand) []json.RawMessage {
	i := source.IntN(len(list))
	switch c {
	case Shuffled:
		before := slices.Clone(list)
		source.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if slices.EqualFunc(before, list, func(a, b json.RawMessage) bool { return &a[0] == &b[0] }) {
			list = append(list[1:], list[0])
		}
	case Short:
		list = slices.Delete(list, i, i+1)
	case Long:
		list = append(list, list[i])
	case Nulled:
		list[i] = json.RawMessage("null")
	}
	return list
}
