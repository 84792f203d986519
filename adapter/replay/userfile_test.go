package replay_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter/replay"
)

// TestParseUsers keeps lines whole, without their ends and the quotation marks of CSV.
func TestParseUsers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, content string
		want          []string
	}{
		{"lines", "u-1\nu-2\n", []string{"u-1", "u-2"}},
		{"no end", "u-1\r\nu-2", []string{"u-1", "u-2"}},
		{"byte order mark and CRLF", "\ufeffu-1\r\nu-2\r\n", []string{"u-1", "u-2"}},
		{"CR", "u-1\ru-2\r\r", []string{"u-1", "u-2"}},
		{"spaces", "u-1 \n u-2\n\t\n", []string{"u-1 ", " u-2", "\t"}},
		{"a trailing space", "u-6 \n", []string{"u-6 "}},
		{"empty lines", "\n\nu-1\n\n", []string{"u-1"}},
		{"a comment is a userId", "# comment\n", []string{"# comment"}},
		{"commas", "u,7\n", []string{"u,7"}},
		{"quotes of CSV", "user_id\n\"u-1\"\n\"u-2\"\n", []string{"user_id", "u-1", "u-2"}},
		{"quotes around a space", "\"u-6 \"\r\n", []string{"u-6 "}},
		{"quotes around a comma", "\"u,7\"\n", []string{"u,7"}},
		{"quotes inside", "\"a\"\"b\"\n\"\"\"\"\n", []string{`a"b`, `"`}},
		{"a quote that is not the first", "a\"b\na\"\n", []string{`a"b`, `a"`}},
		{"nothing in quotes", "\"\"\nu-1\n", []string{"u-1"}},
		{"numbers", "42\n042\n4.20\n", []string{"42", "042", "4.20"}},
		{"Unicode forms", "é\ne\u0301\n", []string{"é", "e\u0301"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := replay.ParseUsers([]byte(test.content)); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	for _, test := range []struct {
		name, content string
		want          error
		text          string
	}{
		{"empty", "", replay.ErrNoUser, "write one a line"},
		{"only empty lines", "\r\n\n\"\"\n", replay.ErrNoUser, "write one a line"},
		{"UTF-16, little endian", "\xff\xfeu\x00\n\x00", replay.ErrUTF16, "UTF-16"},
		{"UTF-16, big endian", "\xfe\xff\x00u\x00\n", replay.ErrUTF16, "UTF-16"},
		{"UTF-16 without a mark", "u\x00\n\x00", replay.ErrUTF16, "UTF-16"},
		{"Latin-1", "caf\xe9\n", replay.ErrNoUTF8, "UTF-8"},
		{"an open quote", "u-1\n\"u-2\nu-3\n", nil, "line 2 has no closing quotation mark"},
		{"columns", "\"u-1\",\"a@b.example\"\n", nil, "line 1 goes on behind its closing quotation mark"},
		{"a space behind the quotes", "\"u-1\" \n", nil, "line 1 goes on"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := replay.ParseUsers([]byte(test.content))
			var line *replay.UserLineError
			if err == nil || !strings.Contains(err.Error(), test.text) || test.want != nil &&
				!errors.Is(err, test.want) || test.want == nil && !errors.As(err, &line) {
				t.Errorf("got %q, %v, want %q", got, err, test.text)
			}
		})
	}
}

// FuzzParseUsers reads back a column that encoding/csv writes.
func FuzzParseUsers(f *testing.F) {
	for _, content := range []string{"u-1\n\"u-2\"\r\nu,3\r", "\ufeff\"a\"\"b\"", "\"", "\"a\"b", "\xff\xfeu\x00",
		"é\n\n\t\n", "\"\"\n\"\"\"\"\"\""} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		users, err := replay.ParseUsers(content)
		if err != nil {
			return
		}
		if !utf8.Valid(content) {
			t.Fatal("bytes that are not UTF-8 were read")
		}
		var written bytes.Buffer
		out := csv.NewWriter(&written)
		for _, user := range users {
			if user == "" || strings.ContainsAny(user, "\r\n\x00") {
				t.Fatalf("userId %q", user)
			}
			if err := out.Write([]string{user}); err != nil {
				t.Fatal(err)
			}
		}
		out.Flush()
		again, err := replay.ParseUsers(written.Bytes())
		if err != nil || !slices.Equal(again, users) {
			// A byte order mark at the start of a userId counts as that of the file.
			if len(users) > 0 && strings.HasPrefix(users[0], "\ufeff") {
				return
			}
			t.Errorf("%q was written as %q and read as %q, %v", users, written.String(), again, err)
		}
	})
}

// TestUserMatches counts the lines of both files that match no event.
func TestUserMatches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	track := func(user, id string) string {
		return fmt.Sprintf(`{"type":"track","userId":%s,"event":"E","messageId":"message-%s"}`, user, id)
	}
	writeArchive(t, dir, []string{
		track(`"u-1"`, "1"), track(`"u-2"`, "2"), track(`42`, "3"), track(`"u-6 "`, "4"), track(`"u,7"`, "5"),
		track(`"é"`, "6"),
	}, []string{track(`"u-1"`, "7")})
	users := []string{"u-flag", "u-1", "u-1", "42", "u-6", "u,7", "e\u0301"}
	filter := replay.Filter{
		Users: users, UserFile: &replay.UserFile{Name: "users.txt", Lines: len(users) - 1},
		Except: []string{"u-6 ", "u-9", "u-1"}, ExceptFile: &replay.UserFile{Name: "except.txt", Lines: 3},
		Events: []string{"Another"}, // a line matches an event whatever else leaves that out
	}
	for _, resumed := range []bool{false, true} {
		p := startProcess(t, replaytest.StorePath(t), newTenant())
		opts := p.options()
		spec := &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI, Filter: filter}
		run := replaytest.Begin(p.t, p.store, spec)
		// The spec is read from the store again, as for a resumed run.
		stored, err := replay.ParseSpec(run.Spec)
		if err != nil {
			t.Fatal(err)
		}
		opts.Users = replay.NewUserMatches(&stored.Filter, resumed)
		err = deliver(t, p.store, run, nil, spec, nil, opts)
		if err != nil {
			t.Fatal(err)
		}
		want := []replay.UserFileReport{
			{File: "users.txt", Lines: 6, Unmatched: 2, Resumed: resumed},
			{File: "except.txt", Lines: 3, Unmatched: 1, Resumed: resumed},
		}
		if got := opts.Users.Report(); !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		p.end()
	}
	if replay.NewUserMatches(&replay.Filter{Users: []string{"u"}}, false).Report() != nil {
		t.Error("a report of a filter without files")
	}
}
