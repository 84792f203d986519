package mapping_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"segment-saasquatch/mapping"
)

// FuzzMap checks that mapping never panics, that its output parses and keeps every limit, and that the key is valid
// or absent.
func FuzzMap(f *testing.F) {
	addGoldenEvents(f)
	all := mapping.DefaultRules()
	scaled := mapping.DefaultRules()
	scaled.AnyAge, scaled.RevenueScale, scaled.InvalidValues = true, "0.01", mapping.InvalidNull
	plain := mapping.DefaultRules()
	plain.AnyAge, plain.RemapOrders, plain.ConformOrders = true, false, false
	plain.AccountID = []string{"$.context.groupId", "properties.account", "userId"}
	expressive := mapping.DefaultRules()
	expressive.AccountID = []string{"traits.account", "userId"}
	expressive.InvalidValues = mapping.InvalidNull
	expressive.Segments = `$append(traits.segments, traits.plan)`
	expressive.InvalidSegments = mapping.SegmentsSanitize
	expressive.FromTrack = `properties.ensure ? properties.ensure : "ALWAYS"`
	expressive.FromTrackBody = `$merge([context.traits, properties.user])`
	expressive.Transform = `$merge([$, fields.transform])`
	plain.PlaceholderUserIDs = nil
	bare := plain // every expression returns the whole call
	bare.FromTrackBody, bare.Segments, bare.InvalidSegments = `$`, `traits.*`, mapping.SegmentsDiscardAll
	bare.InvalidValues = mapping.InvalidDiscardEvent
	var mappers []*mapping.Mapper
	conformed := map[int]bool{0: true, 1: true}
	for _, rules := range []mapping.Rules{all, scaled, plain, expressive, bare} {
		mapper, err := mapping.New(rules)
		if err != nil {
			f.Fatal(err)
		}
		mappers = append(mappers, mapper)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		for i, mapper := range mappers {
			result := mapper.Map(event, goldenNow)
			checkResult(t, event, &result)
			if conformed[i] {
				checkOrder(t, &result)
			}
		}
	})
}

// FuzzOrder checks that the fields of an order fit SaaSquatch's closed schemas, for any properties.
func FuzzOrder(f *testing.F) {
	inputs, err := filepath.Glob(filepath.Join("..", "testdata", "mapping", "M14_*", "input.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		events, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		for event := range bytes.Lines(events) {
			var call struct {
				Properties json.RawMessage `json:"properties"`
			}
			if err := json.Unmarshal(event, &call); err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(call.Properties))
		}
	}
	var mappers []*mapping.Mapper
	for _, scale := range []string{"1", "0.01", "999999999"} {
		for _, invalid := range []mapping.InvalidValues{mapping.InvalidStringify, mapping.InvalidNull} {
			mappers = append(mappers, mustMapper(f, func(r *mapping.Rules) {
				r.AnyAge, r.RevenueScale, r.InvalidValues = true, scale, invalid
			}))
		}
	}
	f.Fuzz(func(t *testing.T, properties []byte) {
		for _, name := range []string{"Order Completed", "Order Refunded"} {
			event := []byte(`{"type":"track","userId":"u","event":"` + name + `","properties":` + string(properties) +
				`}`)
			for _, mapper := range mappers {
				result := mapper.Map(event, goldenNow)
				checkResult(t, event, &result)
				checkOrder(t, &result)
			}
		}
	})
}

// FuzzStringify checks that the text of an unsupported value is its JSON without white space and needless escapes.
func FuzzStringify(f *testing.F) {
	for _, seed := range []string{
		`"caf\u00e9 \/ \u003c \ud83d\ude00"`, `"\ud83d"`, `{"\u006eame" : [ 1.50, true, null ]}`,
		`"\u0000\u001f\t\"\\"`,
		"\"\u2028\"", "\"\xff\"", `1e400`,
	} {
		f.Add([]byte(seed))
	}
	mapper := mustMapper(f, func(*mapping.Rules) {})
	f.Fuzz(func(t *testing.T, value []byte) {
		nested := append(append([]byte("[["), value...), "]]"...)
		want := jsontext.Value(bytes.Clone(nested))
		// Format also removes needless escapes.
		if err := want.Format(jsontext.AllowInvalidUTF8(true), jsontext.ReorderRawObjects(false)); err != nil {
			t.Skip()
		}
		if nesting(want) > mapping.MaxNesting-2 || len(want) > mapping.MaxStringChars {
			t.Skip()
		}
		event := `{"type":"track","userId":"u","event":"e","properties":{"m":` + string(nested) + `}}`
		result := mapper.Map([]byte(event), goldenNow)
		var body requestBody
		if err := json.Unmarshal(result.UserEvent.Body, &body); err != nil {
			t.Fatalf("%s: %s", err, result.Detail)
		}
		var got string
		if err := json.Unmarshal(body.Events[0].Fields["m"], &got); err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Fatalf("%q became %q, want %q", value, got, want)
		}
	})
}

// FuzzValidity compares the parser's verdict with that of jsontext, in both directions.
func FuzzValidity(f *testing.F) {
	addGoldenEvents(f)
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		if !utf8.Valid(event) && bytes.IndexByte(event, '\\') >= 0 {
			t.Skip() // jsontext cannot compare these names
		}
		result := mapper.Map(event, goldenNow)
		valid := result.Reason != mapping.RejectInvalidJSON
		want := isOneObject(event)
		if valid && !want {
			t.Fatalf("took %q, which is not one JSON object without duplicate names", event)
		}
		if !valid && want && nesting(event) <= mapping.MaxNesting {
			t.Fatalf("refused %q: %s", event, result.Detail)
		}
	})
}

// isOneObject is jsontext's verdict. For jsontext, names that differ only in bytes that are not UTF-8 are duplicates.
// For the mapping they are not, so the test reads such bytes as Latin-1.
func isOneObject(event []byte) bool {
	event = bytes.Trim(event, " \t\r\n")
	for bytes.HasPrefix(event, []byte("\uFEFF")) {
		event = bytes.TrimLeft(event[len("\uFEFF"):], " \t\r\n")
	}
	if !utf8.Valid(event) {
		var latin []byte
		for _, c := range event {
			latin = utf8.AppendRune(latin, rune(c))
		}
		event = latin
	}
	value := jsontext.Value(event)
	return value.Kind() == '{' && value.IsValid(jsontext.AllowInvalidUTF8(true))
}

func nesting(event []byte) (deepest int) {
	decoder := jsontext.NewDecoder(bytes.NewReader(event), jsontext.AllowInvalidUTF8(true))
	for {
		if _, err := decoder.ReadToken(); err != nil {
			return deepest
		}
		deepest = max(deepest, decoder.StackDepth())
	}
}

var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// FuzzNumbers checks that numbers keep their text, and that numbers beyond the range of a double are unsupported
// everywhere.
func FuzzNumbers(f *testing.F) {
	for _, seed := range []string{
		"0", "19.90", "-0.0", "12345678901234567890", "1e400", "1E-7", "0.1000", "-1E+309", "1.7976931348623159e308",
		"0e999",
	} {
		f.Add(seed)
	}
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, literal string) {
		if !number.MatchString(literal) {
			t.Skip()
		}
		result := mapper.Map(
			[]byte(`{"type":"track","userId":"u","event":"e","properties":{"n":`+literal+`,`+
				`"deep":[{"n":`+literal+`}]}}`), goldenNow)
		identify := mapper.Map([]byte(`{"type":"identify","userId":"u","traits":{"n":`+literal+`}}`), goldenNow)
		if len(literal) > mapping.MaxStringChars {
			t.Skip()
		}
		number, deep := literal, `[{"n":`+literal+`}]`
		if _, err := strconv.ParseFloat(literal, 64); err != nil {
			number, deep = `"`+number+`"`, strconv.Quote(deep)
		}
		want := `{"id":"u","accountId":"u","customFields":{"n":` + number + `}}`
		if got := string(identify.Upserts[0].Body); got != want {
			t.Fatalf("%s became %s", literal, got)
		}
		var body requestBody
		if err := json.Unmarshal(result.UserEvent.Body, &body); err != nil {
			t.Fatal(err)
		}
		if got := string(body.Events[0].Fields["n"]); got != number {
			t.Fatalf("%s became %s", literal, got)
		}
		if got := string(body.Events[0].Fields["deep"]); got != deep {
			t.Fatalf("%s became %s", literal, got)
		}
	})
}

func addGoldenEvents(f *testing.F) {
	inputs, err := filepath.Glob(filepath.Join("..", "testdata", "mapping", "*", "input.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		events, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		for event := range bytes.Lines(events) {
			f.Add(event)
		}
	}
}
