package jsonata

import (
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/dop251/goja"
)

// The codes of $error and $assert, whose message comes from the expression.
const codeError, codeAssert = "D3137", "D3141"

// engineFailed is the detail of an error without a code.
const engineFailed = "the engine failed"

// valuePlaceholder replaces each value in a detail.
const valuePlaceholder = "[value]"

// templates returns the reference's messages by code, with placeholders.
var templates = sync.OnceValue(func() map[string]string {
	found := make(map[string]string)
	for _, line := range templateLine.FindAllStringSubmatch(referenceSource, -1) {
		found[line[1]] = line[2]
	}
	return found
})

var (
	templateLine = regexp.MustCompile(`(?m)^\s+"([SDT]\d{4})": "(.*)",?$`)
	placeholder  = regexp.MustCompile(`\{\{\{?(\w+)\}?\}\}`)
)

// detailOf returns the message of a code without values. It shows only parts that come from the expression.
func detailOf(code string, thrown *goja.Object) string {
	template, ok := templates()[code]
	if !ok {
		return engineFailed
	}
	return placeholder.ReplaceAllStringFunc(template, func(text string) string {
		switch name := placeholder.FindStringSubmatch(text)[1]; name {
		case "token", "index", "functionName", "type":
			value := thrown.Get(name)
			if value == nil || goja.IsUndefined(value) {
				break
			}
			if name == "index" || strings.HasPrefix(text, "{{{") {
				return value.String()
			}
			return strconv.Quote(value.String())
		}
		return valuePlaceholder
	})
}

// ownDetail returns the message of $error or $assert if it is the default or a literal in the source.
func ownDetail(source, message string) string {
	if message == "$error() function evaluated" || message == "$assert() statement failed" ||
		strings.Contains(source, `"`+message+`"`) || strings.Contains(source, "'"+message+"'") {
		return message
	}
	return "$error or $assert, with a message made of the event"
}
