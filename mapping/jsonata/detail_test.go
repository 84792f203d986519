package jsonata_test

import (
	"errors"
	"strings"
	"testing"

	"segment-saasquatch/mapping/jsonata"
)

// TestDetail checks that the detail of an error shows no value of the input, for any expression.
func TestDetail(t *testing.T) {
	const marker, number = "marker-4711", "471147114711"
	const input = `{"text":"` + marker + `","number":` + number + `,"list":["` + marker + `",{"a":"` + marker +
		`"}],"object":{"` + marker + `":1}}`
	for source, want := range map[string]string{
		`$error(text)`:                         "$error or $assert, with a message made of the event",
		`$error('no plan for ' & text)`:        "$error or $assert, with a message made of the event",
		`$error('no plan')`:                    "no plan",
		`$error("no plan")`:                    "no plan",
		`$error()`:                             "$error() function evaluated",
		`$assert(false, text)`:                 "$error or $assert, with a message made of the event",
		`$assert(false, 'no plan')`:            "no plan",
		`$assert(false)`:                       "$assert() statement failed",
		`$number(text)`:                        "Unable to cast value to a number: [value]",
		`-text`:                                "Cannot negate a non-numeric value: [value]",
		`text + 1`:                             `The left side of the "+" operator must evaluate to a number`,
		`{number: 1}`:                          "",
		`{text: 1, (text): 2}`:                 "",
		`number < text`:                        "",
		`[1..number]`:                          "",
		`$sum(list)`:                           `Argument 1 of function "sum" must be an array of "numbers"`,
		`$sqrt(-number)`:                       "",
		`$power(number, number)`:               "",
		`$formatBase(1, number)`:               "",
		`$toMillis(text)`:                      "",
		`$eval(text & '(')`:                    "",
		`$eval("$error('" & text & "')")`:      "",
		`$eval('"' & text & '" + 1')`:          "",
		`$fromMillis(1, '[' & text & ']')`:     "",
		`$fromMillis(1, '[D1;N' & text & ']')`: "",
		`$fromMillis(1, '[Yn]', text)`:         "",
		`$decodeUrl('%' & text)`:               "",
		`$formatNumber(1, text)`:               "",
		`$formatInteger(1, text)`:              "",
		`$parseInteger(text, text)`:            "",
		`list^(>$)`:                            "",
		`$sort(list)`:                          "",
		`text()`:                               "",
		`object ~> |$|text|`:                   "",
		`object ~> |$|{},number|`:              "",
		`$lookup(text, number)`:                "",
		`$join(list, text)`:                    "",
		`$replace(text, '', text)`:             "",
		`$replace(text, /m/, function($m){1})`: "",
		`$single(list, function($v){true})`:    "",
		`$merge(list)`:                         "",
		`list ~> text`:                         "",
		`$reduce(list, function($a){$a})`:      "",
		`$substring(text, text)`:               "",
		`$pad(text, text)`:                     "",
		`$base64decode(number)`:                "",
	} {
		compiled, err := jsonata.Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		_, _, err = compiled.Eval([]byte(input), casesNow, nil)
		failed, ok := errors.AsType[*jsonata.EvalError](err)
		if !ok {
			if want != "" || err != nil {
				t.Errorf("%s: %v", source, err)
			}
			continue
		}
		detail := failed.Detail()
		if strings.Contains(detail, "4711") || detail == "" || want != "" && detail != want {
			t.Errorf("%s: detail %q of %q, want %q", source, detail, failed.Message, want)
		}
	}
}
