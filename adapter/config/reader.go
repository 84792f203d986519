package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes limits the YAML nodes that are visited in one file. Aliases are followed, so a small file can describe a
// large configuration.
const maxNodes = 100_000

// reader reads the settings of one YAML document into a Config.
type reader struct {
	file   string
	config *Config
	faults faults
	budget int
}

func (r *reader) fault(n *yaml.Node, key, format string, args ...any) {
	r.faults.add(string(originLine(r.file, n.Line)), key, format, args...)
}

// visit follows an alias and returns nil once the budget is spent.
func (r *reader) visit(n *yaml.Node) *yaml.Node {
	if r.budget == 0 {
		return nil
	}
	if r.budget--; r.budget == 0 {
		r.fault(n, "", "the file describes more than %d values: make it smaller and use fewer aliases", maxNodes)
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// root reads the document.
func (r *reader) root(n *yaml.Node) {
	connections, fields := findConnections(n), table(r.config, &r.config.Connections[0])
	r.config.several = connections != nil
	isShown := func(name string) bool { return rootSection.has(name) || name == connectionsKey }
	r.mapping(n, "", isShown, func(name string, key, value *yaml.Node) {
		switch {
		case name == connectionsKey:
			if connections != nil {
				r.connections(connections)
			}
		case r.config.several && connectionSection.has(name):
			r.fault(key, name, "cannot be used together with connections: move it into a connection")
		default:
			r.entry(rootSection, "", "", name, key, value, fields)
		}
	})
}

// findConnections returns the list of connections, nil if the file has none.
func findConnections(root *yaml.Node) *yaml.Node {
	if root.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind == yaml.ScalarNode && key.Value == connectionsKey && !isNull(value) {
			return value
		}
	}
	return nil
}

// connections reads the list of connections.
func (r *reader) connections(n *yaml.Node) {
	switch n = r.visit(n); {
	case n == nil:
		return
	case n.Kind != yaml.SequenceNode:
		r.fault(n, connectionsKey, "is %s: write a list of connections", found(n))
		return
	case len(n.Content) == 0:
		r.fault(n, connectionsKey, "is empty: add a connection or remove the key")
		return
	}
	var list []Connection
	for i, element := range n.Content {
		prefix := fmt.Sprintf("%s[%d]", connectionsKey, i)
		r.config.origins[prefix] = originLine(r.file, element.Line)
		conn := defaultConnection()
		if isNull(element) {
			r.fault(element, prefix, "is empty: write its keys or remove it")
		} else {
			r.section(connectionSection, element, prefix+".", "", table(r.config, &conn))
		}
		if r.budget == 0 {
			return
		}
		list = append(list, conn)
	}
	r.config.Connections = list
}

// section reads the keys of one level. prefix names the connection and path the keys above. Both end with a dot unless
// they are empty. fields is the table of settings with the fields of the connection.
func (r *reader) section(s *section, n *yaml.Node, prefix, path string, fields []setting) {
	r.mapping(n, strings.TrimSuffix(prefix+path, "."), s.has, func(name string, key, value *yaml.Node) {
		r.entry(s, prefix, path, name, key, value, fields)
	})
}

// entry reads one key of a section.
func (r *reader) entry(s *section, prefix, path, name string, key, value *yaml.Node, fields []setting) {
	if sub := s.sections[name]; sub != nil {
		r.section(sub, value, prefix, path+name+".", fields)
		return
	}
	setting := s.settings[name]
	if setting == nil {
		r.unknown(s, prefix, path, name, key, value)
		return
	}
	full := prefix + setting.Key
	before := len(r.faults)
	if r.value(fields[setting.index].bound, full, value) && len(r.faults) == before {
		r.config.origins[full] = originLine(r.file, key.Line)
	}
}

// value reads the value of a setting and returns false if there is none.
func (r *reader) value(f field, key string, n *yaml.Node) bool {
	line := n
	if n = r.visit(n); n == nil {
		return false
	}
	want := f.kind()
	list, isList := f.(listField)
	if isNull(n) && (isList || !want.nullWord || n.Value == "") {
		return false
	}
	if m, ok := f.(textMap); ok {
		if n.Kind != yaml.MappingNode {
			r.fault(line, key, "is %s: write %s", found(n), want.want)
			return false
		}
		*m.p = r.texts(n, key)
		return true
	}
	var err error
	switch {
	case isList && n.Kind == yaml.SequenceNode:
		err = list.setList(r.elements(n, key, want))
	case !r.scalar(n, line, key, want):
		return false
	case !isList:
		err = f.set(n.Value)
	case n.Value == "":
		err = list.setList(nil)
	case want.name == kindTexts.name && strings.ContainsAny(n.Value, ",\n"):
		err = errors.New("is one text with a comma or a line break: write a list, such as [first, second]; " +
			"put an entry that contains a comma in quotes")
	default:
		if strings.Contains(n.Value, ",") {
			r.config.commas[key] = true
		}
		err = list.setList([]string{n.Value})
	}
	if err != nil {
		r.fault(line, key, "%v", err)
	}
	return true
}

// elements reads a list of texts.
func (r *reader) elements(n *yaml.Node, key string, want *kind) []string {
	var texts []string
	for i, line := range n.Content {
		element := r.visit(line)
		if element == nil {
			return nil
		}
		text := ""
		if !isNull(element) || want.nullWord && element.Value != "" {
			if !r.scalar(element, line, fmt.Sprintf("%s[%d]", key, i), want) {
				text = "-"
			} else {
				text = element.Value
			}
		}
		texts = append(texts, text)
	}
	return texts
}

// texts reads a mapping of texts to texts.
func (r *reader) texts(n *yaml.Node, key string) map[string]string {
	texts := map[string]string{}
	r.mapping(n, key, func(string) bool { return true }, func(name string, _, line *yaml.Node) {
		value := r.visit(line)
		if value == nil || !r.scalar(value, line, key, kindText) {
			return
		}
		texts[name] = value.Value
	})
	if len(texts) == 0 {
		return nil
	}
	return texts
}

// scalar reports whether n is a scalar of the kind, and adds a fault if it is not.
func (r *reader) scalar(n, line *yaml.Node, key string, want *kind) bool {
	if n.Kind == yaml.ScalarNode && (slices.Contains(want.tags, n.ShortTag()) || want.nullWord && isNull(n)) {
		return true
	}
	r.fault(line, key, "is %s: write %s", found(n), want.want)
	return false
}

// mapping calls each for every key of a mapping. Null is an empty mapping. A fault shows the names that isShown
// allows.
func (r *reader) mapping(n *yaml.Node, key string, isShown func(name string) bool,
	each func(name string, key, value *yaml.Node)) {
	line := n
	if n = r.visit(n); n == nil || isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fault(line, key, "is %s: write keys and their values", found(n))
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := r.visit(n.Content[i]), n.Content[i+1]
		if name == nil {
			return
		}
		if name.ShortTag() == "!!merge" {
			r.fault(name, key,
				"has a merge key (<<), which is not supported: repeat the keys, or use an alias for a whole section")
			continue
		}
		if name.Kind != yaml.ScalarNode || isNull(name) {
			r.fault(n.Content[i], key, "has a key that is %s: write the name of a setting", found(name))
			continue
		}
		if first, ok := lines[name.Value]; ok {
			twice := hidden
			if isShown(name.Value) {
				twice = quote(name.Value)
			}
			r.fault(n.Content[i], key, "the key %s appears twice, first on line %d: keep one", twice, first)
			continue
		}
		lines[name.Value] = n.Content[i].Line
		each(name.Value, n.Content[i], value)
	}
}

// unknown reports a key that is no setting.
func (r *reader) unknown(s *section, prefix, path, name string, key, value *yaml.Node) {
	hint := ""
	switch elsewhere := findSetting(name); {
	case prefix != "" && rootSection.has(name) || prefix+path != "" && name == connectionsKey:
		hint = fmt.Sprintf("%s belongs to the top level of the file", name)
	case prefix+path == "" && connectionSection.has(name):
		hint = fmt.Sprintf("%s belongs to an element of connections", name)
	case elsewhere != "" && (prefix == "" || settingOf(elsewhere).PerConnection):
		hint = fmt.Sprintf("did you mean %s?", elsewhere)
	default:
		known := s.names
		if prefix+path == "" {
			known = append(slices.Clone(known), connectionsKey)
		}
		if near := nearest(name, known); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
			break
		}
		// If a list was meant, the key may be a secret.
		if isNull(value) {
			name = hidden
		}
		hint = "known here are " + strings.Join(known, ", ")
	}
	r.fault(key, prefix+path+shown(name), "unknown key: %s", hint)
}

// findSetting returns the key of the setting whose last word or environment variable has this name, in any section, or
// "".
func findSetting(name string) string {
	for i := range settings {
		s := &settings[i]
		if !s.listOnly && (lastWord(s.Key) == name || s.Env != "" && strings.EqualFold(s.Env, name)) {
			return s.Key
		}
	}
	return ""
}

func lastWord(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// hidden replaces a key that a fault does not show.
const hidden = "(not shown)"

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,39}$`)

// shown returns a key as a fault shows it. A key that does not look like a name may be a value, such as one without a
// space after the colon. No name of a setting contains a digit, and almost every secret contains one.
func shown(name string) string {
	if !namePattern.MatchString(name) {
		return hidden
	}
	return name
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// found names the kind of a value without showing the value.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return cmp.Or(scalarNames[n.ShortTag()], "a tagged value")
}

var scalarNames = map[string]string{
	"!!null": "empty", "!!bool": "a boolean", "!!int": "a whole number", "!!float": "a decimal number",
	"!!timestamp": "a date", "!!str": "text",
}
