package jsonata

import (
	_ "embed"
	"regexp"
	"strings"
	"sync"

	"github.com/dop251/goja"
)

// referenceSource is the reference implementation, unmodified.
//
//go:embed third_party/jsonata/jsonata.js
var referenceSource string

// boundsSource puts the bounds into a runtime that holds the reference.
//
//go:embed bounds.js
var boundsSource string

// programs compiles the JavaScript, once and only if an expression is used.
var programs = sync.OnceValue(func() (compiled struct{ reference, bounds *goja.Program }) {
	compiled.reference = goja.MustCompile("jsonata.js", synchronous(referenceSource), false)
	compiled.bounds = goja.MustCompile("bounds.js", boundsSource, true)
	return compiled
})

var asynchrony = regexp.MustCompile(`\bawait |\basync (?:function|\()|\bPromise\.all\(`)

// synchronous strips async and await from the reference, which uses them so that
// functions from outside may be asynchronous. There are none here, and without
// them evaluation takes half the time, an interrupt stops it at once, and a
// result does not wait for a queue of jobs. Promise.all over values is those values.
func synchronous(source string) string {
	return asynchrony.ReplaceAllStringFunc(source, func(word string) string {
		if word == "Promise.all(" {
			return "("
		}
		return strings.TrimPrefix(strings.TrimPrefix(word, "await "), "async ")
	})
}
