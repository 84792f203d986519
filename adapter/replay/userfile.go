package replay

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"segment-saasquatch/mapping"
)

// MaxUserFile limits the size of a file of userIds, in bytes.
const MaxUserFile = 256 << 20

// Faults of a file of userIds.
var (
	ErrUTF16  = errors.New("it is UTF-16, or has zero bytes: save it as UTF-8, one userId a line")
	ErrNoUTF8 = errors.New("it is not UTF-8: save it as UTF-8, one userId a line")
	ErrNoUser = errors.New("it has no userId: write one a line")
)

// UserLineError means that a line of a file of userIds begins with a quotation mark and is no field of a CSV file.
type UserLineError struct {
	Line  int // from 1
	Fault string
}

func (e *UserLineError) Error() string {
	return fmt.Sprintf(`line %d %s: write one userId a line without other columns, `+
		`and one that begins with a quotation mark as CSV does: """like"" this"`, e.Line, e.Fault)
}

// ParseUsers reads userIds, one a line, from UTF-8 with or without a byte order mark. A line ends in LF, CRLF or CR.
// All of the line is the userId, with its spaces, commas and marks. Only a line in the quotation marks of a CSV file
// is unquoted. Empty lines are skipped. UserIds that differ only in their Unicode form are different ones.
func ParseUsers(content []byte) (users []string, err error) {
	text := string(content)
	switch {
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"), strings.Contains(text, "\x00"):
		return nil, ErrUTF16
	case !utf8.ValidString(text):
		return nil, ErrNoUTF8
	}
	text = lineEnds.Replace(strings.TrimPrefix(text, "\ufeff"))
	number := 0
	for user := range strings.SplitSeq(text, "\n") {
		number++
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

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// unquoteField returns the text of a quoted CSV field, or its fault.
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

// UserFile is a file of userIds in a filter.
type UserFile struct {
	Name  string `json:"name"`
	Lines int    `json:"lines"` // without empty ones
}

// UserFileReport is the number of lines of a file of userIds, and of those that matched no event.
type UserFileReport struct {
	File      string `json:"file"`
	Lines     int    `json:"lines"`
	Unmatched int    `json:"unmatched"`
	// Resumed means that only events since the last resumption count.
	Resumed bool `json:"resumed,omitempty"`
}

// UserMatches records which lines of the filter's files matched an event. It is safe for concurrent use.
type UserMatches struct {
	resumed bool
	files   []*matchedFile
}

type matchedFile struct {
	UserFile
	users   []string // one a line
	matched map[string]*atomic.Bool
}

// NewUserMatches returns the matches of the filter's files, none so far; nil if it has no files. Resumed means that
// the archive is not read from its start.
func NewUserMatches(f *Filter, resumed bool) *UserMatches {
	m := &UserMatches{resumed: resumed}
	m.add(f.UserFile, f.Users)
	m.add(f.ExceptFile, f.Except)
	if len(m.files) == 0 {
		return nil
	}
	return m
}

// add adds a file. Its userIds are the last ones of the list.
func (m *UserMatches) add(file *UserFile, list []string) {
	if file == nil || file.Lines > len(list) {
		return
	}
	of := &matchedFile{UserFile: *file, users: list[len(list)-file.Lines:], matched: make(map[string]*atomic.Bool)}
	for _, user := range of.users {
		of.matched[user] = new(atomic.Bool)
	}
	m.files = append(m.files, of)
}

// marking returns a selector that also records the userIds.
func (m *UserMatches) marking(selects mapping.Selector) mapping.Selector {
	if m == nil {
		return selects
	}
	return func(c *mapping.Call) (mapping.Kind, mapping.Reason, string) {
		user := c.UserID()
		for _, file := range m.files {
			if matched := file.matched[string(user)]; matched != nil && !matched.Load() {
				matched.Store(true)
			}
		}
		return selects(c)
	}
}

// Report returns the matches of each file.
func (m *UserMatches) Report() (reports []UserFileReport) {
	if m == nil {
		return nil
	}
	for _, file := range m.files {
		report := UserFileReport{File: file.Name, Lines: file.Lines, Resumed: m.resumed}
		for _, user := range file.users {
			if !file.matched[user].Load() {
				report.Unmatched++
			}
		}
		reports = append(reports, report)
	}
	return reports
}
