package saasquatch

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// maxRow bounds a line of a downloaded file, in bytes.
const maxRow = 8 << 20

var (
	errRowTooLong = fmt.Errorf("a line is longer than %d bytes", maxRow)
	errNotJSON    = errors.New("is no JSON object")
)

// rowForm describes the rows of a file.
type rowForm struct {
	// required are the names of a column that a CSV file of this kind must have.
	required []string
	// spaced: fields of CSV may have spaces before them, as in SaaSquatch's example, which are not a part of the
	// field.
	spaced bool
}

// unknown is the error for a file of another form.
func (f rowForm) unknown() error {
	return fmt.Errorf("the file is neither JSON lines nor CSV with a column %s", f.required[0])
}

// row returns the text of the first column that has one of the names and, in JSON, is not null. A member of an object
// in JSON has a dotted name, as the columns of CSV have. A row is valid until the next.
type row func(names ...string) (text string, ok bool)

// rows reads CSV with a header, or JSON lines if the first character is a brace. An error is the last element.
func rows(file *bufio.Reader, form rowForm) iter.Seq2[row, error] {
	for {
		first, err := file.Peek(1)
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return failedRows(err)
		}
		switch first[0] {
		case ' ', '\t', '\r', '\n':
			_, _ = file.Discard(1)
		case '{':
			return jsonRows(file)
		case '[':
			return failedRows(form.unknown())
		default:
			return csvRows(file, form)
		}
	}
}

// failedRows yields the error only, or nothing if there is none.
func failedRows(err error) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		if err != nil {
			yield(nil, err)
		}
	}
}

func jsonRows(file io.Reader) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		lines := bufio.NewScanner(file)
		lines.Buffer(make([]byte, 0, 64<<10), maxRow)
		number := 0
		for lines.Scan() && lines.Err() == nil { // an error cuts off the line before it
			number++
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			var members map[string]json.RawMessage
			if json.Unmarshal(line, &members) != nil || members == nil {
				yield(nil, fmt.Errorf("line %d: %w", number, errNotJSON))
				return
			}
			if !yield(func(names ...string) (string, bool) { return findMember(members, names) }, nil) {
				return
			}
		}
		err := lines.Err()
		if err == bufio.ErrTooLong {
			err = errRowTooLong
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func findMember(members map[string]json.RawMessage, names []string) (text string, ok bool) {
	for _, name := range names {
		if value := member(members, name); present(value) {
			return jsonText(value), true
		}
	}
	return "", false
}

// member finds a member by its name or by its dotted name.
func member(members map[string]json.RawMessage, name string) json.RawMessage {
	if value, ok := members[name]; ok {
		return value
	}
	outer, rest, dotted := strings.Cut(name, ".")
	var inner map[string]json.RawMessage
	if !dotted || json.Unmarshal(members[outer], &inner) != nil {
		return nil
	}
	return member(inner, rest)
}

func csvRows(file *bufio.Reader, form rowForm) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		bounded := &rowLimit{file: file, left: maxRow}
		reader := csv.NewReader(bounded)
		reader.FieldsPerRecord = -1
		reader.ReuseRecord = true
		reader.TrimLeadingSpace = form.spaced
		columns := make(map[string]int)
		for header := true; ; header = false {
			bounded.left = maxRow
			record, err := reader.Read()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err) // names the line and quotes nothing of it
				return
			}
			if header {
				for i, name := range slices.Backward(record) { // the first of a name wins
					columns[strings.TrimSpace(name)] = i
				}
				if !slices.ContainsFunc(form.required, func(name string) bool { _, ok := columns[name]; return ok }) {
					yield(nil, form.unknown())
					return
				}
				continue
			}
			if !yield(func(names ...string) (string, bool) { return findField(columns, record, names) }, nil) {
				return
			}
		}
	}
}

func findField(columns map[string]int, record, names []string) (text string, ok bool) {
	for _, name := range names {
		if i, known := columns[name]; known && i < len(record) {
			return record[i], true
		}
	}
	return "", false
}

// rowLimit bounds how much csv.Reader, which has no limit, reads for one row. Up to 4 KiB that it has read ahead come
// on top.
type rowLimit struct {
	file io.Reader
	left int
}

func (l *rowLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errRowTooLong
	}
	n, err := l.file.Read(p)
	l.left -= n
	return n, err
}
