package main

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"segment-saasquatch/mapping"
)

// page returns a page of the documentation, by its path from the repository's root.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages returns every Markdown page outside testdata and third-party code, by its path
// from the repository's root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := path.Join(path.Dir(pattern), filepath.Base(file))
			all[name] = page(t, name)
		}
	}
	if len(all) < 15 {
		t.Fatalf("found %d pages", len(all))
	}
	return all
}

// TestReadmeIsShort holds README.md to 150 lines.
func TestReadmeIsShort(t *testing.T) {
	if lines := strings.Count(page(t, "README.md"), "\n"); lines > 150 {
		t.Errorf("README.md has %d lines", lines)
	}
}

// TestConfigurationPage holds the table of docs/configuration.md to the output of config
// reference. With -update it writes the table anew.
func TestConfigurationPage(t *testing.T) {
	const name, begin, end = "docs/configuration.md", "`segment-saasquatch config reference`. -->\n", "\n\n"
	text := page(t, name)
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no table of settings", name)
	}
	want := before + begin + strings.TrimSuffix(referenceTable(), "\n") + end + after
	if text == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not hold the output of config reference; run this test with -update", name)
	}
	if err := os.WriteFile(filepath.Join("..", "..", filepath.FromSlash(name)), []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMapExample runs the example of map and compares its output.
func TestMapExample(t *testing.T) {
	example := regexp.MustCompile("(?s)printf '%s\\\\n' '([^']+)' .*?map --now (\\S+)\n```\n\n```json\n(.*?\n)```")
	found := example.FindStringSubmatch(page(t, "docs/mapping.md"))
	if found == nil {
		t.Fatal("no example of map in docs/mapping.md")
	}
	if code, got, stderr := runCommand(t, found[1]+"\n", "map", "--now", found[2]); code != exitOK || got != found[3] {
		t.Errorf("exit code %d %s\n got %s\nwant %s", code, stderr, got, found[3])
	}
}

// TestPagesHaveEveryReason holds the tables of reasons and warnings to the closed sets in the
// source, which are a public contract: each name has one row, and each row has a name.
func TestPagesHaveEveryReason(t *testing.T) {
	for _, table := range []struct {
		name, heading string
		sources       []string
		least         int
	}{
		{"docs/mapping.md", "## Reasons and warnings", []string{"mapping", "adapter"}, 65},
		{"docs/segment.md", "## Answers", []string{"adapter/webhook"}, 14},
	} {
		want := make(map[string]bool)
		for _, dir := range table.sources {
			for _, name := range closedSet(t, dir) {
				want[name] = true
			}
		}
		if len(want) < table.least {
			t.Fatalf("%v: found %d names", table.sources, len(want))
		}
		_, section, _ := strings.Cut(page(t, table.name), "\n"+table.heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		rows := make(map[string]int)
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section, -1) {
			rows[row[1]]++
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if rows[name] != 1 {
				t.Errorf("%s has %d rows for `%s` under %s", table.name, rows[name], name, table.heading)
			}
			delete(rows, name)
		}
		for name := range rows {
			t.Errorf("%s has a row for `%s`, which no package in %v has", table.name, name, table.sources)
		}
	}
}

// closedSet returns the values of all constants of the types Reason and Warning in the package.
func closedSet(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	constant := regexp.MustCompile(`(?m)^\t\w+ +(?:mapping\.)?(?:Reason|Warning) += "([a-z_]+)"`)
	var names []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range constant.FindAllStringSubmatch(string(source), -1) {
			names = append(names, name[1])
		}
	}
	return names
}

// TestOperationsPage checks what docs/operations.md takes from the source.
func TestOperationsPage(t *testing.T) {
	operations := page(t, "docs/operations.md")
	if mapping.MaxNesting != 64 || !strings.Contains(operations, "64 levels of nesting") {
		t.Error("docs/operations.md has another limit of nesting")
	}
	_, metrics, _ := strings.Cut(operations, "\n## Metrics\n")
	metrics, _, _ = strings.Cut(metrics, "\n## ")
	golden := regexp.MustCompile(`(?m)^# TYPE segment_saasquatch_([a-z_]+)`)
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "metrics", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range golden.FindAllStringSubmatch(string(text), -1) {
			names = append(names, name[1])
		}
	}
	if len(names) < 20 {
		t.Fatalf("found %d metrics", len(names))
	}
	for _, name := range names {
		if !strings.Contains(metrics, "`"+name+"`") {
			t.Errorf("docs/operations.md does not have the metric `%s`", name)
		}
	}
	for _, command := range []string{"serve", "replay", "migrate-check", "deliveries", "store", "map", "send",
		"sandbox",
		"config print", "config reference", "healthcheck", "version"} {
		if !strings.Contains(operations, "`"+command+"`") {
			t.Errorf("docs/operations.md does not have the command `%s`", command)
		}
	}
}

// TestLinks follows every relative link of the pages, to its file and to its heading there.
func TestLinks(t *testing.T) {
	all := pages(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	checked := 0
	for name, text := range all {
		for _, found := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			checked++
			file := name
			if target != "" {
				file = path.Join(path.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(file))); err != nil {
				t.Errorf("%s links to %s: %v", name, found[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(all[file]), anchor) {
				t.Errorf("%s links to %s: %s has no such heading", name, found[1], file)
			}
		}
	}
	if checked < 100 {
		t.Errorf("found %d links", checked)
	}
}

// withoutCode leaves out blocks of code, in which brackets are no links.
func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
}

// anchors returns the anchors that GitHub makes of a page's headings.
func anchors(text string) []string {
	var list []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(withoutCode(text), -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsNumber(r), r == '-', r == '_':
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, heading[1])
		list = append(list, anchor)
	}
	return list
}

// unclear are words that leave open who acts. The pattern is in parts, so that this file does
// not have the words.
var unclear = regexp.MustCompile(`\b([Ww]ho` + `ever|[Tt]hose ` + `who|[Nn]o` + `body|[Ss]ome` + `body|[Oo]f ` +
	`late)\b`)

// checkWords fails for each line that has one of the words.
func checkWords(t *testing.T, words *regexp.Regexp, name, text string) {
	t.Helper()
	for i, line := range strings.Split(text, "\n") {
		if found := words.FindString(line); found != "" {
			t.Errorf("%s:%d says %q: name the actor or the thing", name, i+1, found)
		}
	}
}

// TestPlainWords keeps unclear words out of the pages.
func TestPlainWords(t *testing.T) {
	roundabout := regexp.MustCompile(`\b(what is|that which|lest|so as to)\b`)
	for name, text := range pages(t) {
		checkWords(t, unclear, name, text)
		checkWords(t, roundabout, name, text)
	}
}

// TestPlainComments keeps unclear words out of the source.
func TestPlainComments(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(file) != ".go" {
			return err
		}
		text, err := os.ReadFile(file)
		if err == nil {
			checkWords(t, unclear, filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator))),
				string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
