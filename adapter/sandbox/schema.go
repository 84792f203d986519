package sandbox

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed schema.json
var schemaJSON []byte

// definition is a definition of schema.json. Message and RSCode are for errors that explain has no words for.
type definition struct {
	schema  *jsonschema.Schema
	Message string `json:"message"`
	RSCode  string `json:"rsCode"`
}

const schemaURL = "sandbox:schema.json"

// definitions compiles schema.json on first use, because most runs of the program start no sandbox.
var definitions = sync.OnceValue(func() map[string]*definition {
	var all struct {
		Definitions map[string]*definition `json:"definitions"`
	}
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON))
	compiler := jsonschema.NewCompiler()
	err = errors.Join(err, json.Unmarshal(schemaJSON, &all), compiler.AddResource(schemaURL, text))
	if err != nil {
		panic(err) // the file is part of the program
	}
	for name, d := range all.Definitions {
		d.schema = compiler.MustCompile(schemaURL + "#/definitions/" + name)
	}
	return all.Definitions
})

// violations lists all errors of a value by a definition, sorted by place, with missing members last. The function at
// names a place.
func violations(definition string, value any, at func(place []string) string) []*apiError {
	var invalid *jsonschema.ValidationError
	if !errors.As(definitions()[definition].schema.Validate(value), &invalid) {
		return nil
	}
	found := leaves(invalid)
	slices.SortStableFunc(found, func(a, b *jsonschema.ValidationError) int {
		return cmp.Or(missing(a)-missing(b), slices.Compare(a.InstanceLocation, b.InstanceLocation))
	})
	all := make([]*apiError, len(found))
	for i, leaf := range found {
		all[i] = explain(leaf, at)
	}
	return all
}

// leaves flattens a tree of errors. A value that fits none of several alternatives is one error.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if _, alternatives := e.ErrorKind.(*kind.AnyOf); alternatives || len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var all []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		all = append(all, leaves(cause)...)
	}
	return all
}

// missing counts the missing members of an error.
func missing(e *jsonschema.ValidationError) int {
	if required, ok := e.ErrorKind.(*kind.Required); ok {
		return len(required.Missing)
	}
	return 0
}

func explain(e *jsonschema.ValidationError, at func(place []string) string) *apiError {
	place := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		if len(place) == 0 {
			return badRequest("%s is required.", k.Missing[0])
		}
		return badRequest("%s must have a %s", at(place), k.Missing[0])
	case *kind.Type:
		return badRequest("%s must be %s", at(place), oneOf(k.Want))
	case *kind.MaxLength:
		return badRequest("%s must have at most %d characters", at(place), k.Want)
	case *kind.MaxItems:
		return badRequest("%s must have at most %d elements", at(place), k.Want)
	case *kind.MaxProperties:
		return badRequest("%s must have at most %d fields", at(place), k.Want)
	case *kind.Minimum:
		return badRequest("%s must not be negative", at(place))
	case *kind.AdditionalProperties:
		place = append(place, slices.Min(k.Properties))
	}
	_, name, _ := strings.Cut(e.SchemaURL, "#/definitions/")
	d := definitions()[name]
	if d == nil {
		return badRequest("%s is not valid", at(place))
	}
	return badRequestRS(d.RSCode, "%s", strings.ReplaceAll(d.Message, "{at}", at(place)))
}

// oneOf words types, such as "a string or null". The validator lists them from null to object.
func oneOf(types []string) string {
	types = slices.Clone(types)
	slices.Reverse(types)
	article, last := "a ", len(types)-1
	if strings.ContainsAny(types[0][:1], "aio") { // array, integer, object
		article = "an "
	}
	if last == 0 {
		return article + types[0]
	}
	return article + strings.Join(types[:last], ", ") + " or " + types[last]
}

// readObject reads the source, which must be an object that is valid by a definition. Numbers are of type
// [json.Number].
func (r *reader) readObject(definition string) (map[string]any, *apiError) {
	if r.decoder.PeekKind() != jsontext.KindBeginObject {
		return nil, r.typeError("a JSON object")
	}
	var object map[string]any
	if err := jsonv2.UnmarshalDecode(r.decoder, &object, keepNumbers); err != nil {
		return nil, r.syntaxError(err)
	}
	if apiErr := r.end(); apiErr != nil {
		return nil, apiErr
	}
	if all := violations(definition, object, r.at); len(all) > 0 {
		return nil, all[0]
	}
	return object, nil
}

// check is readObject without the object. It is fast for valid sources.
func (r *reader) check(definition string) *apiError {
	if r.accepts(definitions()[definition].schema) && r.end() == nil {
		return nil
	}
	r.rewind()
	_, apiErr := r.readObject(definition)
	return apiErr
}

// keepNumbers keeps the digits of numbers. An exponent of more than three digits becomes 999: the validator writes
// exponents out, and panics on those of seven digits.
var keepNumbers = jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
	if d.PeekKind() != jsontext.KindNumber {
		return errors.ErrUnsupported
	}
	number, err := d.ReadValue()
	*v = json.Number(number)
	start := bytes.IndexAny(number, "eE") + 1
	if digits := bytes.TrimLeft(number[start:], "+-0"); start > 0 && len(digits) > 3 {
		*v = json.Number(number[:len(number)-len(digits)]) + "999"
	}
	return err
}))

func typesOf(name string) (types jsonschema.Types) {
	types.Add(name)
	return types
}

var (
	objectType  = typesOf("object")
	arrayType   = typesOf("array")
	stringType  = typesOf("string")
	numberType  = typesOf("number")
	integerType = typesOf("integer")
)

// errUnsure ends a fast check.
var errUnsure = badRequest("The validator has to look.")

// accepts reads a value and reports whether it is surely valid by a schema. It knows the keywords of purchase, refund
// and eventLine in schema.json, and no others. After false, the validator decides. The validator takes up to ten times
// as long (BenchmarkTrackEvents/purchase, BenchmarkImport).
func (r *reader) accepts(s *jsonschema.Schema) bool {
	if s.Ref != nil {
		s = s.Ref
	}
	switch kind := r.decoder.PeekKind(); kind {
	case jsontext.KindString:
		text, apiErr := r.string()
		return apiErr == nil && *s.Types == stringType && (s.MaxLength == nil || len(text) <= *s.MaxLength) &&
			(s.Pattern == nil || s.Pattern.MatchString(string(text)))
	case jsontext.KindNumber:
		number, err := r.decoder.ReadValue()
		return err == nil && number[0] != '-' &&
			(*s.Types == numberType || *s.Types == integerType && !bytes.ContainsAny(number, ".eE"))
	case jsontext.KindBeginArray:
		count := 0
		return *s.Types == arrayType && r.each(kind, "", func() *apiError {
			count++
			if count > *s.MaxItems || !r.accepts(s.Items.(*jsonschema.Schema)) {
				return errUnsure
			}
			return nil
		}) == nil
	case jsontext.KindBeginObject:
		if *s.Types == objectType && len(s.Properties) == 0 {
			return r.skip() == nil
		}
		required := len(s.Required)
		return *s.Types == objectType && r.members("", func(name []byte) *apiError {
			if slices.Contains(s.Required, string(name)) {
				required--
			}
			if member := s.Properties[string(name)]; member == nil || !r.accepts(member) {
				return errUnsure
			}
			return nil
		}) == nil && required == 0
	}
	return false
}
