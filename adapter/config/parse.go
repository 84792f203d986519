package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parse reads the single document of a configuration file. It returns no node for an empty file. On an error it
// returns the problem, and its line if that is known.
//
// The library's errors have no types, only text. The text shows no values except the name of an unknown anchor, which
// may be a secret that begins with an asterisk.
func parse(content []byte) (root *yaml.Node, line int, problem string) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, next yaml.Node
	if err := decode(decoder, &document); errors.Is(err, io.EOF) {
		return nil, 0, ""
	} else if err != nil {
		return syntaxProblem(err)
	}
	switch err := decode(decoder, &next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return syntaxProblem(err)
	default:
		return nil, next.Line, "begins a second document: keep one"
	}
	if len(document.Content) != 1 {
		return nil, 0, ""
	}
	return document.Content[0], 0, ""
}

var errParser = errors.New("not valid YAML")

// decode reads one document. The parser panics in states that it believes to be impossible.
func decode(decoder *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = errParser
		}
	}()
	return decoder.Decode(into)
}

var (
	syntaxPattern = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)
	anchorPattern = regexp.MustCompile(`(?s)anchor '.*'`)
)

func syntaxProblem(err error) (*yaml.Node, int, string) {
	parts := syntaxPattern.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(parts[1])
	problem := "cannot be read as YAML: " + anchorPattern.ReplaceAllString(parts[2], "anchor")
	const remedy = ": check the indentation, and put values with special characters in quotes"
	return nil, line, strings.ToValidUTF8(problem, "?") + remedy
}
