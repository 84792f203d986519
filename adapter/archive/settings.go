package archive

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// settings are the parameters after the question mark of a bucket's URL. The methods note each
// name that they are asked for, so finish knows the unknown ones.
type settings struct {
	values url.Values
	known  map[string]bool
	faults []error
}

func parseSettings(query string) (*settings, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("parse the parameters behind the question mark: %w", err)
	}
	return &settings{values: values, known: make(map[string]bool)}, nil
}

// text returns the value of a parameter, empty if it is not given.
func (s *settings) text(name string) string {
	s.known[name] = true
	if len(s.values[name]) > 1 {
		s.faults = append(s.faults, fmt.Errorf("%s is given twice: give it once", name))
	}
	return s.values.Get(name)
}

// oneOf returns the value of a parameter in lower case, which has to be one of those allowed.
// Without a value it returns the empty text.
func (s *settings) oneOf(name string, allowed ...string) string {
	value := strings.ToLower(s.text(name))
	if value != "" && !slices.Contains(allowed, value) {
		s.faults = append(s.faults, fmt.Errorf("%s: it has to be %s", name, strings.Join(allowed, " or ")))
	}
	return value
}

// flag returns the value of a parameter, or fallback if it is not given.
func (s *settings) flag(name string, fallback bool) bool {
	value := s.text(name)
	if !s.values.Has(name) {
		return fallback
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: it has to be true or false", name))
	}
	return on
}

// number returns the value of a parameter, 0 if it is not given.
func (s *settings) number(name string) uint {
	value := s.text(name)
	if !s.values.Has(name) {
		return 0
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: it has to be a whole number", name))
	}
	return uint(n)
}

// finish returns the errors of all parameters: invalid values and unknown names.
func (s *settings) finish() error {
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if !s.known[name] {
			s.faults = append(s.faults, fmt.Errorf("unknown parameter %q: there are %s",
				name, strings.Join(slices.Sorted(maps.Keys(s.known)), ", ")))
		}
	}
	return errors.Join(s.faults...)
}
