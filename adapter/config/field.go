package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// field reads and writes one setting of one Config. An error of set does not
// show the text of a secret.
type field interface {
	kind() kind
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

// mapField is a field that takes a YAML mapping only.
type mapField interface {
	field
	setMap(texts map[string]string)
}

// kind is a type of value in a configuration file.
type kind struct {
	// name is for the reference and the help of flags.
	name string
	// want ends a fault that says "write …".
	want string
	// tags are the YAML types of a scalar that are accepted.
	tags []string
	// nullWord says that YAML's null, where it is spelt out, is text; of a list, that
	// an element of it is.
	nullWord bool
}

// YAML takes 123 for a number and 2026-01-01 for a date; as text they are
// their literal text.
var textTags = []string{"!!str", "!!int", "!!float", "!!timestamp"}

var (
	kindText = kind{"text", "text, in quotes", textTags, false}
	// null is one of the values.
	kindInvalidValues = kind{"text", "stringify, null or discard_event", textTags, true}
	kindExpression    = kind{"expression", "a JSONata expression, in quotes or as a block", textTags, false}
	kindDecimal       = kind{"decimal", "a decimal number such as 1, 100 or 0.01", textTags, false}
	kindSecret        = kind{"secret", "text, in quotes", textTags, false}
	kindSecrets       = kind{"secrets", "text in quotes, or a list of it", textTags, false}
	kindTexts         = kind{"list", "text in quotes, or a list of it", textTags, false}
	kindWords         = kind{kindTexts.name, kindTexts.want, textTags, true}
	kindNetworks      = kind{kindTexts.name, "addresses or networks such as 10.0.0.0/8, in quotes, or a list of them", textTags, false}
	kindMap           = kind{"mapping", "a mapping of event names to event keys", textTags, false}
	kindBool          = kind{"bool", "true or false, without quotes", []string{"!!bool"}, false}
	kindWhole         = kind{"int", "a whole number, without quotes", []string{"!!int"}, false}
	kindNumber        = kind{"number", "a number, without quotes", []string{"!!int", "!!float"}, false}
	kindSize          = kind{"size", "a size such as 10MiB", textTags, false}
	kindDuration      = kind{"duration", "a duration such as 30s, 12h or 180d", textTags, false}
)

func scalarNode(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

func sequenceNode(texts []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, text := range texts {
		n.Content = append(n.Content, scalarNode("!!str", text))
	}
	return n
}

// textField is a field that holds a string as it is, after a check.
type textField[T ~string] struct {
	p     *T
	check func(string) error
}

func (f textField[T]) kind() kind       { return kindText }
func (f textField[T]) node() *yaml.Node { return scalarNode("!!str", string(*f.p)) }
func (f textField[T]) set(text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("holds a control character or is not UTF-8: write plain text")
	}
	if strings.ContainsFunc(text, isInvisible) {
		return errors.New("holds an invisible character, such as a byte order mark: type it anew")
	}
	if f.check != nil {
		if err := f.check(text); err != nil {
			return err
		}
	}
	*f.p = T(text)
	return nil
}

type invalidValuesField struct {
	textField[mapping.InvalidValues]
}

func (f invalidValuesField) kind() kind { return kindInvalidValues }

// decimalField keeps the literal text of a number.
type decimalField struct{ textField[string] }

func (f decimalField) kind() kind { return kindDecimal }

// expressionField holds a JSONata expression, which may have several lines.
type expressionField struct{ p *string }

func (f expressionField) kind() kind       { return kindExpression }
func (f expressionField) node() *yaml.Node { return scalarNode("!!str", *f.p) }
func (f expressionField) set(text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }) {
		return errors.New("holds a control character or is not UTF-8: write it as an escape in the expression")
	}
	*f.p = text
	return nil
}

// baseURLField cuts off a slash at the end.
type baseURLField struct{ textField[string] }

func (f baseURLField) set(text string) error { return f.textField.set(strings.TrimSuffix(text, "/")) }

type boolField struct{ p *bool }

func (f boolField) kind() kind       { return kindBool }
func (f boolField) node() *yaml.Node { return scalarNode("!!bool", strconv.FormatBool(*f.p)) }
func (f boolField) set(text string) error {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("is %s: write true or false", quote(text))
	}
	*f.p = b
	return nil
}

type wholeField struct{ p *int }

func (f wholeField) kind() kind       { return kindWhole }
func (f wholeField) node() *yaml.Node { return scalarNode("!!int", strconv.Itoa(*f.p)) }
func (f wholeField) set(text string) error {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return fmt.Errorf("is %s: write a whole number in decimal digits", quote(text))
	}
	*f.p = int(n)
	return nil
}

type numberField struct{ p *float64 }

func (f numberField) kind() kind { return kindNumber }
func (f numberField) node() *yaml.Node {
	tag := "!!float"
	text := strconv.FormatFloat(*f.p, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		tag = "!!int"
	}
	return scalarNode(tag, text)
}
func (f numberField) set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return fmt.Errorf("is %s: write a number such as 50 or 0.5", quote(text))
	}
	*f.p = n
	return nil
}

type sizeField struct{ p *int64 }

func (f sizeField) kind() kind       { return kindSize }
func (f sizeField) node() *yaml.Node { return scalarNode("!!str", formatSize(*f.p)) }
func (f sizeField) set(text string) error {
	n, err := parseSize(text)
	if err != nil {
		return err
	}
	*f.p = n
	return nil
}

type durationField struct{ p *time.Duration }

func (f durationField) kind() kind       { return kindDuration }
func (f durationField) node() *yaml.Node { return scalarNode("!!str", formatDuration(*f.p)) }
func (f durationField) set(text string) error {
	d, err := parseDuration(text)
	if err != nil {
		return err
	}
	*f.p = d
	return nil
}

type secretField struct{ p *adapter.Secret }

func (f secretField) kind() kind       { return kindSecret }
func (f secretField) node() *yaml.Node { return scalarNode("!!str", f.p.String()) }
func (f secretField) set(text string) error {
	*f.p = adapter.NewSecret(text)
	return nil
}

type secretsField struct{ p *[]adapter.Secret }

func (f secretsField) kind() kind { return kindSecrets }
func (f secretsField) node() *yaml.Node {
	masks := make([]string, len(*f.p))
	for i, s := range *f.p {
		masks[i] = s.String()
	}
	return sequenceNode(masks)
}

// set splits at commas and trims spaces.
func (f secretsField) set(text string) error {
	if jsonText.MatchString(strings.TrimSpace(text)) {
		return errors.New("is a list or an object in brackets: write the values alone, with commas between them")
	}
	texts := strings.Split(text, ",")
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	return f.setList(texts)
}

func (f secretsField) setList(texts []string) error {
	if err := checkElements(texts); err != nil {
		return err
	}
	list := make([]adapter.Secret, len(texts))
	for i, text := range texts {
		list[i] = adapter.NewSecret(text)
	}
	*f.p = list
	return nil
}

type textsField struct{ p *[]string }

func (f textsField) kind() kind            { return kindTexts }
func (f textsField) node() *yaml.Node      { return sequenceNode(*f.p) }
func (f textsField) set(text string) error { return f.setList([]string{text}) }
func (f textsField) setList(texts []string) error {
	if err := checkElements(texts); err != nil {
		return err
	}
	*f.p = texts
	return nil
}

// wordsField is a list in which null is a word like others.
type wordsField struct{ textsField }

func (f wordsField) kind() kind { return kindWords }

func checkElements(texts []string) error {
	for i, text := range texts {
		if strings.TrimSpace(text) == "" {
			return fmt.Errorf("element %d of %d is empty: remove it or fill it in", i+1, len(texts))
		}
	}
	return nil
}

type textMapField struct{ p *map[string]string }

func (f textMapField) kind() kind                     { return kindMap }
func (f textMapField) set(string) error               { return errors.New("write " + kindMap.want) }
func (f textMapField) setMap(texts map[string]string) { *f.p = texts }
func (f textMapField) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if len(*f.p) == 0 {
		n.Style = yaml.FlowStyle
	}
	names := make([]string, 0, len(*f.p))
	for name := range *f.p {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n.Content = append(n.Content, scalarNode("!!str", name), scalarNode("!!str", (*f.p)[name]))
	}
	return n
}
