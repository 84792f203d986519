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

// boundsSource adds the bounds to a runtime that holds the reference.
//
//go:embed bounds.js
var boundsSource string

// programs compiles the JavaScript once, when the first expression needs it.
var programs = sync.OnceValue(func() (compiled struct{ reference, bounds *goja.Program }) {
	compiled.reference = goja.MustCompile("jsonata.js", synchronous(referenceSource), false)
	compiled.bounds = goja.MustCompile("bounds.js", boundsSource, true)
	return compiled
})

var asynchrony = regexp.MustCompile(`\bawait |\basync (?:function|\()|\bPromise\.all\(`)

// synchronous removes async and await from the reference, which has them for asynchronous functions from outside.
// There are none here. Evaluation takes half the time without them, an interrupt stops it at once, and a result waits
// for no queue of jobs. Promise.all of values becomes the values.
func synchronous(source string) string {
	return asynchrony.ReplaceAllStringFunc(source, func(word string) string {
		if word == "Promise.all(" {
			return "("
		}
		return strings.TrimPrefix(strings.TrimPrefix(word, "await "), "async ")
	})
}
