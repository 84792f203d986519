package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"segment-saasquatch/mapping"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadmeHoldsTheReference(t *testing.T) {
	if !strings.Contains(readme(t), referenceTable()) {
		t.Error("README.md does not hold the output of config reference")
	}
}

// TestReadmeMapExample runs the example of map and compares its output.
func TestReadmeMapExample(t *testing.T) {
	found := regexp.MustCompile("(?s)printf '%s\\\\n' '([^']+)' .*?map --now (\\S+)\n```\n\n```json\n(.*?\n)```").FindStringSubmatch(readme(t))
	if found == nil {
		t.Fatal("no example of map in README.md")
	}
	if code, got, stderr := runCommand(t, found[1]+"\n", "map", "--now", found[2]); code != exitOK || got != found[3] {
		t.Errorf("exit code %d %s\n got %s\nwant %s", code, stderr, got, found[3])
	}
}

// TestReadmeNamesEveryReason checks the closed sets that are a public contract.
func TestReadmeNamesEveryReason(t *testing.T) {
	text := readme(t)
	for _, file := range []string{"mapping/reason.go", "mapping/warning.go", "adapter/webhook/reason.go"} {
		source, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`(?:Reason|Warning) += "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
		if len(names) < 5 {
			t.Fatalf("%s: found %d names", file, len(names))
		}
		for _, name := range names {
			if !strings.Contains(text, name[1]) {
				t.Errorf("README.md does not name %s of %s", name[1], file)
			}
		}
	}
	bounds, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	if mapping.MaxNesting != 64 || !strings.Contains(string(bounds), "64 levels of nesting") {
		t.Error("docs/operations.md has another limit of nesting")
	}
}
