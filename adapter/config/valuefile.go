package config

import (
	"bytes"
	"strings"
)

// valueText returns the text of a file that holds one value, without the line break at
// its end, or why it is none. It shows nothing of the file.
func valueText(content []byte) (text, problem string) {
	switch {
	case len(content) > maxValueSize:
		return "", "the file it names is larger than 64 KiB: name a file that holds the value alone"
	case bytes.HasPrefix(content, []byte("\xff\xfe")), bytes.HasPrefix(content, []byte("\xfe\xff")):
		return "", "the file it names is UTF-16: save it as UTF-8 without a byte order mark"
	case bytes.IndexByte(content, 0) >= 0:
		return "", "the file it names holds NUL bytes, so it is UTF-16 or no text: save the value alone, as UTF-8"
	case bytes.HasPrefix(content, []byte(byteOrderMark)):
		return "", "the file it names begins with a byte order mark: save it as UTF-8 without one"
	case len(bytes.TrimSpace(content)) == 0:
		return "", "the file it names is empty: write the value into it or unset the variable"
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), ""
}
