package mapping

import (
	"fmt"
	"strings"
)

// accountPath splits a path of account_id into its names, or returns its fault. A path is member names separated by
// dots. It may begin with "$.", as Segment writes it (M5). Other forms of JSONPath find nothing, so they are faults.
func accountPath(text string) (names []string, fault string) {
	const example = "write names separated by dots, such as context.groupId or $.context.groupId"
	switch {
	case strings.Contains(text, "${"), strings.Contains(text, "{{"):
		return nil, fmt.Sprintf("%q holds a variable or a template that nothing has replaced: %s", text, example)
	case strings.Contains(text, ","):
		const list = "write several paths as a list, such as [context.groupId, userId]"
		return nil, fmt.Sprintf("%q holds a comma: %s", text, list)
	case strings.ContainsAny(text, "[]"):
		return nil, fmt.Sprintf("%q holds brackets: %s; a path cannot lead into an array", text, example)
	}
	names = strings.Split(strings.TrimPrefix(text, "$."), ".")
	if strings.HasPrefix(names[0], "$") {
		return nil, fmt.Sprintf("%q begins with $ and no dot: %s", text, example)
	}
	for _, name := range names {
		switch {
		case strings.TrimSpace(name) != name:
			return nil, fmt.Sprintf("%q has white space around a name: remove it", text)
		case name == "" || name == "*":
			return nil, fmt.Sprintf("%q is not a path: %s", text, example)
		}
	}
	return names, ""
}
