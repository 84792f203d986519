package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"segment-saasquatch/adapter"
)

// field reads and writes one setting of one Config. An error of set does not show the text of a secret.
type field interface {
	kind() *kind
	// set reads the text of an environment variable, of a flag or of a scalar.
	set(text string) error
	// node returns the value for printing, masked if it is secret.
	node() *yaml.Node
}

// listField is a field that also takes a YAML list.
type listField interface {
	field
	setList(texts []string) error
}

// kind is a type of value in a configuration file.
type kind struct {
	// name is for the reference and the help of flags.
	name string
	// want completes an error that says "write …".
	want string
	// tags are the YAML types of a scalar that are accepted.
	tags []string
	// nullWord says that YAML's null is text if it is spelt out. In a list, the same is true of its elements.
	nullWord bool
}

// textTags are the YAML types that count as text. YAML reads 123 as a number and 2026-01-01 as a date.
var textTags = []string{"!!str", "!!int", "!!float", "!!timestamp"}

var (
	kindText          = &kind{"text", "text, in quotes", textTags, false}
	kindInvalidValues = &kind{"text", "stringify, null or discard_event", textTags, true} // null is one of the values
	kindExpression    = &kind{"expression", "a JSONata expression, in quotes or as a block", textTags, false}
	kindDecimal       = &kind{"decimal", "a decimal number such as 1, 100 or 0.01", textTags, false}
	kindSecret        = &kind{"secret", "text, in quotes", textTags, false}
	kindSecrets       = &kind{"secrets", "text in quotes, or a list of it", textTags, false}
	kindTexts         = &kind{"list", "text in quotes, or a list of it", textTags, false}
	kindWords         = &kind{"list", "text in quotes, or a list of it", textTags, true}
	kindNetworks      = &kind{"list",
		"addresses or networks such as 10.0.0.0/8, in quotes, or a list of them", textTags, false}
	kindMap      = &kind{"mapping", "a mapping of event names to event keys", nil, false}
	kindBool     = &kind{"bool", "true or false, without quotes", []string{"!!bool"}, false}
	kindWhole    = &kind{"int", "a whole number, without quotes", []string{"!!int"}, false}
	kindNumber   = &kind{"number", "a number, without quotes", []string{"!!int", "!!float"}, false}
	kindSize     = &kind{"size", "a size such as 10MiB", textTags, false}
	kindDuration = &kind{"duration", "a duration such as 30s, 12h or 180d", textTags, false}
)

// scalar is a field of one value.
type scalar[T any] struct {
	p      *T
	k      *kind
	parse  func(string) (T, error)
	format func(T) string
}

func (f scalar[T]) kind() *kind { return f.k }

func (f scalar[T]) node() *yaml.Node {
	text := f.format(*f.p)
	if f.k == kindNumber && strings.Contains(text, ".") {
		return scalarNode("!!float", text)
	}
	return scalarNode(f.k.tags[0], text)
}

func (f scalar[T]) set(text string) error {
	value, err := f.parse(text)
	if err == nil {
		*f.p = value
	}
	return err
}

func boolField(p *bool) field {
	return scalar[bool]{p, kindBool, withRemedy(strconv.ParseBool, "true or false"), strconv.FormatBool}
}

func wholeField(p *int) field {
	parse := func(text string) (int, error) {
		n, err := strconv.ParseInt(text, 10, 32)
		return int(n), err
	}
	return scalar[int]{p, kindWhole, withRemedy(parse, "a whole number in decimal digits"), strconv.Itoa}
}

func numberField(p *float64) field {
	parse := func(text string) (float64, error) {
		n, err := strconv.ParseFloat(text, 64)
		if math.IsNaN(n) || math.IsInf(n, 0) {
			err = strconv.ErrRange
		}
		return n, err
	}
	format := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	return scalar[float64]{p, kindNumber, withRemedy(parse, "a number such as 50 or 0.5"), format}
}

// withRemedy has the error of a parser show the text and the remedy.
func withRemedy[T any](parse func(string) (T, error), remedy string) func(string) (T, error) {
	return func(text string) (T, error) {
		value, err := parse(text)
		if err != nil {
			err = fmt.Errorf("is %s: write %s", quote(text), remedy)
		}
		return value, err
	}
}

func sizeField(p *int64) field { return scalar[int64]{p, kindSize, parseSize, formatSize} }

func durationField(p *time.Duration) field {
	return scalar[time.Duration]{p, kindDuration, parseDuration, formatDuration}
}

func secretField(p *adapter.Secret) field {
	return scalar[adapter.Secret]{p, kindSecret, parseSecret, adapter.Secret.String}
}

func parseSecret(text string) (adapter.Secret, error) { return adapter.NewSecret(text), nil }

// textField is a field that keeps a text as it is if check returns no problem. check may be nil.
func textField[T ~string](p *T, check func(string) string) scalar[T] {
	parse := func(text string) (T, error) {
		switch {
		case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
			return "", errors.New("contains a control character or is not UTF-8: write plain text")
		case strings.ContainsFunc(text, isInvisible):
			return "", errors.New("contains an invisible character, such as a byte order mark: type it again")
		}
		if check != nil && check(text) != "" {
			return "", errors.New(check(text))
		}
		return T(text), nil
	}
	return scalar[T]{p, kindText, parse, func(text T) string { return string(text) }}
}

// of returns the same field of another kind of text.
func (f scalar[T]) of(k *kind) scalar[T] {
	f.k = k
	return f
}

// baseURLField removes a slash at the end.
func baseURLField(p *string) field {
	f := textField(p, baseURLProblem)
	parse := f.parse
	f.parse = func(text string) (string, error) { return parse(strings.TrimSuffix(text, "/")) }
	return f
}

// expressionField holds a JSONata expression, which may have several lines.
func expressionField(p *string) field {
	isForbidden := func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }
	f := textField(p, nil).of(kindExpression)
	f.parse = func(text string) (string, error) {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, isForbidden) {
			return "", errors.New("contains a control character or is not UTF-8: " +
				"write it as an escape in the expression")
		}
		return text, nil
	}
	return f
}

// list is a field of several values.
type list[T any] struct {
	p      *[]T
	k      *kind
	parse  func(string) (T, error)
	format func(T) string
}

func (f list[T]) kind() *kind { return f.k }

func (f list[T]) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, value := range *f.p {
		n.Content = append(n.Content, scalarNode("!!str", f.format(value)))
	}
	return n
}

// set splits at commas and trims spaces.
func (f list[T]) set(text string) error {
	if jsonText.MatchString(strings.TrimSpace(text)) {
		return errors.New("is a list or an object in brackets: write the values alone, with commas between them")
	}
	texts := strings.Split(text, ",")
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	return f.setList(texts)
}

func (f list[T]) setList(texts []string) error {
	for i, text := range texts {
		if strings.TrimSpace(text) == "" {
			return fmt.Errorf("element %d of %d is empty: remove it or fill it in", i+1, len(texts))
		}
	}
	var values []T
	for i, text := range texts {
		value, err := f.parse(text)
		switch {
		case err != nil && len(texts) == 1:
			return err
		case err != nil:
			return fmt.Errorf("element %d of %d %w", i+1, len(texts), err)
		}
		values = append(values, value)
	}
	*f.p = values
	return nil
}

func secretsField(p *[]adapter.Secret) field {
	return list[adapter.Secret]{p, kindSecrets, parseSecret, adapter.Secret.String}
}

func textsField(p *[]string, k *kind) field {
	same := func(text string) string { return text }
	return list[string]{p, k, func(text string) (string, error) { return text, nil }, same}
}

// textMap is a field that takes a YAML mapping only.
type textMap struct{ p *map[string]string }

func (f textMap) kind() *kind      { return kindMap }
func (f textMap) set(string) error { return errors.New("write " + kindMap.want) }

func (f textMap) node() *yaml.Node {
	n := mappingNode()
	if len(*f.p) == 0 {
		n.Style = yaml.FlowStyle
	}
	for _, name := range slices.Sorted(maps.Keys(*f.p)) {
		n.Content = append(n.Content, scalarNode("!!str", name), scalarNode("!!str", (*f.p)[name]))
	}
	return n
}

func scalarNode(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

func mappingNode() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} }
