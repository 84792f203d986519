package config

import (
	"errors"
	"regexp"
	"strings"
)

// checkText returns what keeps a text that is no credential from being meant: it
// accepts "", and does not show the text.
func checkText(text string) error {
	switch {
	case strings.HasPrefix(text, byteOrderMark):
		return errors.New("begins with a byte order mark: save its source as UTF-8 without one")
	case strings.ContainsFunc(text, isInvisible):
		return errors.New("holds an invisible character: type it anew")
	case strings.TrimSpace(text) != text:
		return errors.New("begins or ends with white space: remove it")
	case isQuoted(text):
		return errors.New("stands in quotation marks that are part of the value: remove them")
	case wholeReference.MatchString(text) || plainReference.MatchString(text):
		return errors.New("holds a variable or a template, such as ${NAME}, that nothing has replaced: " +
			"write the value itself")
	case strings.Contains(text, "…") || heldPlaceholder.MatchString(text):
		return errors.New("holds a placeholder: write the value itself")
	}
	return nil
}

var heldPlaceholder = regexp.MustCompile(`<[A-Za-z][^<>]*>`)

// checkName is checkText for the name of something, where a word such as changeme
// is no name either.
func checkName(text string) error {
	if err := checkText(text); err != nil {
		return err
	}
	if isPlaceholder(text) {
		return errors.New("is a placeholder: write the value itself")
	}
	return nil
}

// checkFilePath is checkText for the path of a file or directory.
func checkFilePath(text string) error {
	if err := checkText(text); err != nil {
		return err
	}
	switch {
	case homePath.MatchString(text):
		return errors.New("begins with ~, which only a shell replaces: write the path in full")
	case urlScheme.MatchString(text):
		return errors.New("is a URL: write the path of a local file or directory")
	}
	return nil
}

var (
	homePath  = regexp.MustCompile(`^~[A-Za-z0-9._-]*(?:/|$)`)
	urlScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
)
