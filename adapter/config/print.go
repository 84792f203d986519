package config

import (
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes the effective configuration as a file that [Load] can read. A comment on each value says where it came
// from. Secrets are masked, and [Config.Validate] refuses the mask.
func (c *Config) Print(w io.Writer) error {
	root := mappingNode()
	if c.listForm() {
		c.print(root, func(s *setting) bool { return !s.PerConnection }, nil, "")
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range c.Connections {
			element := mappingNode()
			c.print(element, func(s *setting) bool { return s.PerConnection }, &c.Connections[i], c.prefix(i))
			list.Content = append(list.Content, element)
		}
		root.Content = append(root.Content, scalarNode("!!str", connectionsKey), list)
	} else {
		c.print(root, func(s *setting) bool { return !s.listOnly }, &c.Connections[0], "")
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

// print adds the picked settings to a mapping.
func (c *Config) print(root *yaml.Node, pick func(*setting) bool, conn *Connection, prefix string) {
	list := table(c, conn)
	for i := range list {
		s := &list[i]
		if !pick(s) {
			continue
		}
		at, parts := root, strings.Split(s.Key, ".")
		for _, name := range parts[:len(parts)-1] {
			at = child(at, name)
		}
		key, value := scalarNode("!!str", parts[len(parts)-1]), s.bound.node()
		comment := c.originOf(prefix + s.Key).comment()
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			key.LineComment = comment
		} else {
			value.LineComment = comment
		}
		at.Content = append(at.Content, key, value)
	}
}

// child returns the mapping of that name at the end of a mapping. The table keeps the settings of one section
// together.
func child(n *yaml.Node, name string) *yaml.Node {
	if last := len(n.Content) - 1; last > 0 && n.Content[last-1].Value == name {
		return n.Content[last]
	}
	sub := mappingNode()
	n.Content = append(n.Content, scalarNode("!!str", name), sub)
	return sub
}
