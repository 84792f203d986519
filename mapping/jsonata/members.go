package jsonata

import "github.com/dop251/goja"

// member is a member of an object of the input. value is nil until the expression reads it.
type member struct {
	name  string
	raw   []byte
	value goja.Value
}

// memberList holds the members of an object in their order.
type memberList struct {
	list  []member
	index map[string]int // by name; nil as long as there are few
}

// fewMembers is the largest number of members that a linear search finds faster than a map.
const fewMembers = 32

func (l *memberList) put(name string, raw []byte) {
	if m := l.find(name); m != nil {
		m.raw = raw
		return
	}
	if l.list == nil {
		l.list = make([]member, 0, fewMembers/2)
	}
	l.list = append(l.list, member{name: name, raw: raw})
	switch count := len(l.list); {
	case l.index != nil:
		l.index[name] = count - 1
	case count > fewMembers:
		l.index = make(map[string]int, 2*count)
		for i := range l.list {
			l.index[l.list[i].name] = i
		}
	}
}

// find returns nil if the name is absent.
func (l *memberList) find(name string) *member {
	if l.index != nil {
		if i, ok := l.index[name]; ok {
			return &l.list[i]
		}
		return nil
	}
	for i := range l.list {
		if l.list[i].name == name {
			return &l.list[i]
		}
	}
	return nil
}
