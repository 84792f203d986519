package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The types below are the scalars of schema.graphql. ImplementsGraphQLType and UnmarshalGraphQL implement the
// library's interface of scalars. Assumed: a value of another kind fails the whole call, as GraphQL demands.

// scalarText is a scalar that is written as a string. The resolvers check its form.
type scalarText string

func (*scalarText) ImplementsGraphQLType(name string) bool {
	switch name {
	case "JobType", "SegmentKey", "SegmentOperation", "RSLocale", "RSCountryCode":
		return true
	}
	return false
}

// UnmarshalGraphQL takes a string.
func (t *scalarText) UnmarshalGraphQL(input any) error {
	text, ok := input.(string)
	if !ok {
		return errors.New("want a string")
	}
	*t = scalarText(text)
	return nil
}

// scalarJSON is the scalar RSJsonNode or RSShallowMap: any JSON. The value is decoded, or a [jsontext.Value] where
// [parseGraphQL] leaves a member of the variables as it was sent.
type scalarJSON struct{ value any }

func (*scalarJSON) ImplementsGraphQLType(name string) bool {
	return name == "RSJsonNode" || name == "RSShallowMap"
}

// UnmarshalGraphQL takes every value.
func (s *scalarJSON) UnmarshalGraphQL(input any) error {
	s.value = input
	return nil
}

// MarshalJSON returns the value as JSON.
func (s scalarJSON) MarshalJSON() ([]byte, error) {
	if sent, ok := s.value.(jsontext.Value); ok {
		return sent, nil
	}
	return json.Marshal(s.value)
}

// scalarDate is the scalar RSDate of an answer, in Unix milliseconds.
type scalarDate int64

func (*scalarDate) ImplementsGraphQLType(name string) bool { return name == "RSDate" }

// UnmarshalGraphQL fails: an argument is a [dateInput].
func (*scalarDate) UnmarshalGraphQL(any) error { return errors.New("this date is not an input") }

// dateInput is the scalar RSDate of an argument. It keeps a fraction, which the resolvers refuse. Assumed: a text is
// no date.
type dateInput float64

func (*dateInput) ImplementsGraphQLType(name string) bool { return name == "RSDate" }

// UnmarshalGraphQL takes a number, which the library decodes to one of two types.
func (d *dateInput) UnmarshalGraphQL(input any) error {
	switch number := input.(type) {
	case float64:
		*d = dateInput(number)
	case int32:
		*d = dateInput(number)
	default:
		return fmt.Errorf("want a number of milliseconds, not %T", input)
	}
	return nil
}

// MarshalJSON writes the number without an exponent, so that no digit of a date is lost.
func (d dateInput) MarshalJSON() ([]byte, error) { return d.append(nil), nil }

func (d dateInput) append(out []byte) []byte {
	return strconv.AppendFloat(out, float64(d), 'f', -1, 64)
}

// scalarLong is the scalar Long.
type scalarLong int64

func (*scalarLong) ImplementsGraphQLType(name string) bool { return name == "Long" }

// UnmarshalGraphQL fails, because no argument is a Long.
func (*scalarLong) UnmarshalGraphQL(any) error { return errors.New("a Long is not an input") }
