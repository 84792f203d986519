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

// definition is a definition of schema.json. Message and RSCode belong to the faults for
// which message has no words of its own.
type definition struct {
	schema  *jsonschema.Schema
	Message string `json:"message"`
	RSCode  string `json:"rsCode"`
}

const schemaURL = "sandbox:schema.json"

// definitions compiles schema.json on first use: most runs of the program have no sandbox.
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

// faults returns what is wrong with a value by a definition, in the order of places.
// Missing members come last. The function at puts a place into words.
func faults(name string, value any, at func(place []string) string) []*apiError {
	var invalid *jsonschema.ValidationError
	if !errors.As(definitions()[name].schema.Validate(value), &invalid) {
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

// leaves returns the faults without the schemas around them. What is wrong with each
// of several alternatives is one fault.
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
	return badRequestRS(d.RSCode, "%s", strings.ReplaceAll(d.Message, "{at}", at(place)))
}

// oneOf puts types into words. They come in the validator's order, in which null is first.
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

// judge reads the source, which must be an object, and checks it by a definition.
// Numbers in it are of type [json.Number].
func (r *reader) judge(name string) (map[string]any, *apiError) {
	if r.decoder.PeekKind() != jsontext.KindBeginObject {
		return nil, r.wrong("a JSON object")
	}
	var object map[string]any
	if err := jsonv2.UnmarshalDecode(r.decoder, &object, keepNumbers); err != nil {
		return nil, r.syntaxFault(err)
	}
	if fault := r.end(); fault != nil {
		return nil, fault
	}
	if all := faults(name, object, r.at); len(all) > 0 {
		return nil, all[0]
	}
	return object, nil
}

// check is judge for a source of which only the verdict matters.
func (r *reader) check(name string) *apiError {
	if r.accepts(definitions()[name].schema) && r.end() == nil {
		return nil
	}
	r.rewind()
	_, fault := r.judge(name)
	return fault
}

// keepNumbers lets numbers keep their digits, but for an exponent of more than three: it
// becomes 999, as the validator writes exponents out and panics on those of seven digits.
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

// accepts reads a value and reports whether it is surely valid by a schema. It knows the
// keywords of purchase, refund and eventLine in schema.json, and no others. False means
// that the validator has to look: it takes 10 times as long (BenchmarkImport).
func (r *reader) accepts(s *jsonschema.Schema) bool {
	if s.Ref != nil {
		s = s.Ref
	}
	switch r.decoder.PeekKind() {
	case jsontext.KindString:
		text, fault := r.string()
		return fault == nil && *s.Types == stringType && (s.MaxLength == nil || len(text) <= *s.MaxLength) &&
			(s.Pattern == nil || s.Pattern.MatchString(string(text)))
	case jsontext.KindNumber:
		number, err := r.decoder.ReadValue()
		return err == nil && number[0] != '-' &&
			(*s.Types == numberType || *s.Types == integerType && !bytes.ContainsAny(number, ".eE"))
	case jsontext.KindBeginArray:
		return *s.Types == arrayType && r.acceptsAll(jsontext.KindEndArray, *s.MaxItems, func() bool {
			return r.accepts(s.Items.(*jsonschema.Schema))
		})
	case jsontext.KindBeginObject:
		if *s.Types != objectType {
			return false
		}
		if len(s.Properties) == 0 {
			return r.skip() == nil
		}
		required := len(s.Required)
		return r.acceptsAll(jsontext.KindEndObject, len(s.Properties), func() bool {
			name, fault := r.name()
			member := s.Properties[string(name)]
			if slices.Contains(s.Required, string(name)) {
				required--
			}
			return fault == nil && member != nil && r.accepts(member)
		}) && required == 0
	}
	return false
}

// acceptsAll reads an object or array of at most limit parts.
func (r *reader) acceptsAll(end jsontext.Kind, limit int, accepts func() bool) bool {
	if _, err := r.decoder.ReadToken(); err != nil {
		return false
	}
	for range limit + 1 {
		more, fault := r.more(end)
		if !more || fault != nil {
			return fault == nil
		}
		if !accepts() {
			return false
		}
	}
	return false
}
