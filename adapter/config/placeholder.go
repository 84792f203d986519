package config

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// References that a shell, a template or a deployment tool replaces before a program runs. One that remains was in a
// place that the tool does not read: single quotes, an env-file, a systemd unit.
var (
	// wholeReference is a text that is one reference and nothing else. A random credential of 32 printable characters
	// looks like one once in a million.
	wholeReference = regexp.MustCompile(`^(?:` +
		`\$\{.*\}` + // shells, Docker Compose, Spring
		`|\$\(.*\)` + // shells, Kubernetes, MSBuild
		`|\$[A-Z_][A-Z0-9_]*` + // shells
		`|%[A-Za-z_][A-Za-z0-9_]*%` + // Windows
		`|#\{.*\}#?` + // Octopus, Azure Pipelines
		`|<%.*%>` + // ERB, EJS
		`|__[A-Za-z][A-Za-z0-9_.]*__` + // Azure Pipelines
		`|@Microsoft\.KeyVault\(.*\)` +
		`|(?:op|vault|secret|secretref|ref\+[a-z]+)://.*` + // secret managers
		`|arn:aws[a-z-]*:(?:secretsmanager|ssm):.*` +
		`|projects/[^/]+/secrets/.*` +
		`|ENC\[.*\]` + // SOPS
		`)$`)
	// heldReference is a reference inside a text that may be a credential. It has rare forms only, because a
	// credential may contain a brace or a dollar sign by chance.
	heldReference = regexp.MustCompile(`\$\{[A-Z_][A-Z0-9_]+\}|\{\{.*\}\}`)
	// plainReference is a reference inside a text that is no credential, such as a path or a host.
	plainReference = regexp.MustCompile(`\$\{[^{}]*\}|\{\{.*\}\}|\$\([^()]*\)|(?:^|[/:@.])\$[A-Za-z_]` +
		`|%[A-Za-z_][A-Za-z0-9_]*%|#\{[^{}]*\}|<%.*%>`)
	// lowerReference is a shell's reference in lower case, or a password such as $ecret.
	lowerReference = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$`)
)

// Texts that documentation has in the place of a value.
var (
	bracketedWords = regexp.MustCompile(`^(?:<[A-Za-z][A-Za-z0-9 _./'-]*>|\[[A-Za-z][A-Za-z0-9 _./'-]*\])$`)
	// instruction matches such a text in lower case, reduced to letters and digits.
	instruction = regexp.MustCompile(`changeme|replaceme` +
		`|^your[a-z]*(?:secret|key|token|password|value|alias|tenant|sid|here)$` +
		`|^(?:todo|tbd|fixme|placeholder|redacted|undefined|null|nil|none|x{3,})$`)
	// elided is a value that was shortened or masked before it was copied.
	elided = regexp.MustCompile(`…|•|\*{4}|\.\.\.$`)
)

// isPlaceholder reports whether a credential or a name stands for the real value.
func isPlaceholder(text string) bool {
	if bracketedWords.MatchString(text) || elided.MatchString(text) {
		return true
	}
	for _, prefix := range []string{testKeyPrefix, liveKeyPrefix, testAliasPrefix} {
		text = strings.TrimPrefix(text, prefix)
	}
	return bracketedWords.MatchString(text) || instruction.MatchString(lettersAndDigits(text))
}

// lettersAndDigits removes all other characters and turns the rest to lower case.
func lettersAndDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, text)
}

// isInvisible reports whether a character shows nothing and separates nothing. The joiners that some scripts need
// between letters are no such characters.
func isInvisible(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != nonJoiner && r != joiner && unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

const byteOrderMark = "\ufeff"

// quotePairs are opening and closing quotation marks. Word processors and chat programs make the typographic ones.
var quotePairs = []string{`""`, `''`, "``", "“”", "‘’", "„“", "„”", "‚‘", "‚’", "«»", "»«", "‹›", "”“", "””", "’’"}

// isQuoted reports whether a text is in quotation marks.
func isQuoted(text string) bool {
	return slices.ContainsFunc(quotePairs, func(pair string) bool {
		opening := string([]rune(pair)[:1])
		rest, ok := strings.CutPrefix(text, opening)
		return ok && strings.HasSuffix(rest, strings.TrimPrefix(pair, opening))
	})
}

// hasQuote reports whether a text begins or ends with a quotation mark, as the parts of a quoted list do.
func hasQuote(text string) bool {
	const marks = "\"'`“”‘’„‚«»‹›"
	return strings.Trim(text, marks) != text
}
