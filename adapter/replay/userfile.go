package replay

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"segment-saasquatch/mapping"
)

// MaxUserFile bounds a file of userIds, in bytes.
const MaxUserFile = 256 << 20

// What is wrong with a file of userIds.
var (
	ErrUTF16  = errors.New("it is UTF-16, or has zero bytes: save it as UTF-8, one userId a line")
	ErrNoUTF8 = errors.New("it is not UTF-8: save it as UTF-8, one userId a line")
	ErrNoUser = errors.New("it has no userId: write one a line")
)

// UserLineError is a line of a file of userIds that begins with a quotation mark and is
// no field of a CSV file.
type UserLineError struct {
	Line  int // from 1
	Fault string
}

func (e *UserLineError) Error() string {
	return fmt.Sprintf(`line %d %s: write one userId a line without other columns, and one that begins with a quotation mark as CSV does: """like"" this"`, e.Line, e.Fault)
}

// ParseUsers reads userIds, one a line, from UTF-8 with or without a byte order mark. A
// line ends in LF, CRLF or CR. It is the userId as it stands, with its spaces, commas
// and marks; only a line in the quotation marks of a CSV file is what they hold. Empty
// lines are passed over. Userids that look alike in several Unicode forms are several.
func ParseUsers(content []byte) (users []string, err error) {
	switch {
	case bytes.HasPrefix(content, []byte("\xff\xfe")), bytes.HasPrefix(content, []byte("\xfe\xff")), bytes.IndexByte(content, 0) >= 0:
		return nil, ErrUTF16
	case !utf8.Valid(content):
		return nil, ErrNoUTF8
	}
	rest := bytes.TrimPrefix(content, []byte("\ufeff"))
	for number := 1; len(rest) > 0; number++ {
		line := rest
		if i := bytes.IndexAny(rest, "\r\n"); i >= 0 {
			line, rest = rest[:i], rest[i:]
			rest = rest[lineEnd(rest):]
		} else {
			rest = nil
		}
		user := string(line)
		if strings.HasPrefix(user, `"`) {
			var fault string
			if user, fault = unquoteField(user); fault != "" {
				return nil, &UserLineError{Line: number, Fault: fault}
			}
		}
		if user != "" {
			users = append(users, user)
		}
	}
	if len(users) == 0 {
		return nil, ErrNoUser
	}
	return users, nil
}

// lineEnd returns the length of the line's end with which the text begins.
func lineEnd(text []byte) int {
	if bytes.HasPrefix(text, []byte("\r\n")) {
		return 2
	}
	return 1
}

// unquoteField returns the text of a quoted CSV field, or what is wrong with it.
func unquoteField(field string) (text, fault string) {
	var b strings.Builder
	for rest := field[1:]; ; {
		before, after, found := strings.Cut(rest, `"`)
		b.WriteString(before)
		switch {
		case !found:
			return "", "has no closing quotation mark"
		case strings.HasPrefix(after, `"`):
			b.WriteByte('"')
			rest = after[1:]
		case after != "":
			return "", "goes on behind its closing quotation mark"
		default:
			return b.String(), ""
		}
	}
}

// UserFile is a file of userIds that a filter was made of.
type UserFile struct {
	Name string `json:"name"`
	// Lines is how many userIds it has.
	Lines int `json:"lines"`
}

// UserFileReport says how many lines of a file of userIds matched no event that was
// read.
type UserFileReport struct {
	File      string `json:"file"`
	Lines     int    `json:"lines"`
	Unmatched int    `json:"unmatched"`
	// Resumed says that only events read since the run was resumed count.
	Resumed bool `json:"resumed,omitempty"`
}

// UserMatches knows which lines of the filter's files matched an event. It is safe for
// concurrent use.
type UserMatches struct {
	resumed bool
	files   []*matchedFile
}

type matchedFile struct {
	UserFile
	users   []string // one a line
	numbers map[string]int
	matched []atomic.Bool // by number
}

// NewUserMatches returns the matches of the filter's files, none so far; nil if it has
// no files. Resumed says that the archive is not read from its start.
func NewUserMatches(f *Filter, resumed bool) *UserMatches {
	m := &UserMatches{resumed: resumed}
	m.add(f.UserFile, f.Users)
	m.add(f.ExceptFile, f.Except)
	if len(m.files) == 0 {
		return nil
	}
	return m
}

// add adds a file, whose userIds are the last of the list.
func (m *UserMatches) add(file *UserFile, list []string) {
	if file == nil || file.Lines > len(list) {
		return
	}
	of := &matchedFile{UserFile: *file, users: list[len(list)-file.Lines:], numbers: make(map[string]int, file.Lines)}
	for _, user := range of.users {
		if _, again := of.numbers[user]; !again {
			of.numbers[user] = len(of.numbers)
		}
	}
	of.matched = make([]atomic.Bool, len(of.numbers))
	m.files = append(m.files, of)
}

// marking returns a selector that notes whose events it sees.
func (m *UserMatches) marking(selects mapping.Selector) mapping.Selector {
	if m == nil {
		return selects
	}
	return func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		user := c.UserID()
		for _, file := range m.files {
			if number, ok := file.numbers[string(user)]; ok && !file.matched[number].Load() {
				file.matched[number].Store(true)
			}
		}
		return selects(c)
	}
}

// Report returns how many lines of each file matched no event.
func (m *UserMatches) Report() (reports []UserFileReport) {
	if m == nil {
		return nil
	}
	for _, file := range m.files {
		report := UserFileReport{File: file.Name, Lines: file.Lines, Resumed: m.resumed}
		for _, user := range file.users {
			if !file.matched[file.numbers[user]].Load() {
				report.Unmatched++
			}
		}
		reports = append(reports, report)
	}
	return reports
}
