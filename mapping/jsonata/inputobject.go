package jsonata

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/dop251/goja"
)

// inputObject is an object of the input for JavaScript. It parses itself at the first access and is immutable.
type inputObject struct {
	decoder *decoder
	raw     []byte
	depth   int
	read    bool
	members memberList
}

func (o *inputObject) find(name string) *member {
	if !o.read {
		o.read = true
		var err error
		if o.members, err = o.decoder.members(o.raw); err != nil {
			o.fail(err)
		}
	}
	return o.members.find(name)
}

// fail keeps the error until the evaluation ends, since JavaScript cannot carry it.
func (o *inputObject) fail(err error) {
	if o.decoder.err == nil {
		o.decoder.err = err
	}
}

// Get returns a member's value, the same one each time.
func (o *inputObject) Get(name string) goja.Value {
	m := o.find(name)
	if m == nil {
		return nil
	}
	if m.value == nil {
		value, err := o.decoder.value(m.raw, o.depth+1)
		if err != nil {
			o.fail(err)
			value = goja.Undefined()
		}
		m.value = value
	}
	return m.value
}

// Has reports whether there is such a member.
func (o *inputObject) Has(name string) bool { return o.find(name) != nil }

// Set changes nothing.
func (o *inputObject) Set(string, goja.Value) bool { return false }

// Delete deletes nothing.
func (o *inputObject) Delete(string) bool { return false }

// Keys returns the names in JavaScript's order: array indexes come first.
func (o *inputObject) Keys() []string {
	o.find("")
	names := make([]string, len(o.members.list))
	for i := range names {
		names[i] = o.members.list[i].name
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(arrayIndex(a), arrayIndex(b)) })
	return names
}

// arrayIndex returns the number of a name that is an array index in JavaScript. Other names give a larger number.
func arrayIndex(name string) uint64 {
	const none = 1<<32 - 1
	if name == "" || len(name) > 10 || name[0] == '0' && name != "0" {
		return none
	}
	index, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return none
	}
	return index
}
