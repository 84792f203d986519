package config

import (
	"regexp"
	"strings"
)

// textProblem returns what a text that is no credential holds by mistake, and the remedy. It accepts "" and does not
// show the text.
func textProblem(text string) string {
	switch {
	case strings.HasPrefix(text, byteOrderMark):
		return "begins with a byte order mark: save its source as UTF-8 without one"
	case strings.ContainsFunc(text, isInvisible):
		return "contains an invisible character: type it again"
	case strings.TrimSpace(text) != text:
		return "begins or ends with white space: remove it"
	case isQuoted(text):
		return "is in quotation marks, which are part of the value: remove them"
	case wholeReference.MatchString(text) || plainReference.MatchString(text):
		return "contains a variable or a template, such as ${NAME}, that was not replaced: write the value itself"
	case strings.Contains(text, "…") || heldPlaceholder.MatchString(text):
		return "contains a placeholder: write the value itself"
	}
	return ""
}

var heldPlaceholder = regexp.MustCompile(`<[A-Za-z][^<>]*>`)

// nameProblem is textProblem for a name. A word such as changeme is no name either.
func nameProblem(text string) string {
	if problem := textProblem(text); problem != "" || !isPlaceholder(text) {
		return problem
	}
	return "is a placeholder: write the value itself"
}

// filePathProblem is textProblem for the path of a file or directory.
func filePathProblem(text string) string {
	problem := textProblem(text)
	switch {
	case problem != "":
		return problem
	case homePath.MatchString(text):
		return "begins with ~, which only a shell replaces: write the path in full"
	case urlScheme.MatchString(text):
		return "is a URL: write the path of a local file or directory"
	}
	return ""
}

var (
	homePath  = regexp.MustCompile(`^~[A-Za-z0-9._-]*(?:/|$)`)
	urlScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
)
