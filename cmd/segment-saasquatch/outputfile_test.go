package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutputFile checks an output option against every kind of existing path.
func TestOutputFile(t *testing.T) {
	const old, fresh = "the former content", "the new content"
	source := func(dir string) []string { return []string{filepath.Join(dir, "logs")} }
	for name, test := range map[string]struct {
		prepare func(t *testing.T, dir, name string)
		inputs  func(dir string) []string
		fault   string // with force
		unasked string // without force
	}{
		"nothing": {},
		"a file":  {prepare: writeOld, unasked: "exists"},
		"the source": {
			prepare: writeOld, inputs: func(dir string) []string { return []string{filepath.Join(dir, "out")} },
			fault: "command reads", unasked: "command reads",
		},
		"the source by a glob": {
			prepare: writeOld, inputs: func(dir string) []string { return []string{filepath.Join(dir, "o*")} },
			fault: "command reads", unasked: "command reads",
		},
		"the source by another name": {
			prepare: func(t *testing.T, dir, name string) {
				writeOld(t, dir, name)
				must(t, os.Link(name, filepath.Join(dir, "logs")))
			},
			inputs: source, fault: "command reads", unasked: "command reads",
		},
		"the source through a link": {
			prepare: func(t *testing.T, dir, name string) {
				writeOld(t, dir, name)
				must(t, os.Symlink(name, filepath.Join(dir, "logs")))
			},
			inputs: source, fault: "command reads", unasked: "command reads",
		},
		"a file of the source": {
			prepare: writeOld, inputs: func(dir string) []string { return []string{dir} },
			fault: "command reads", unasked: "command reads",
		},
		"a file beside the source": {
			prepare: func(t *testing.T, dir, name string) {
				writeOld(t, dir, name)
				must(t, os.Mkdir(filepath.Join(dir, "logs"), 0o700))
			},
			inputs: source, unasked: "exists",
		},
		"a directory": {
			prepare: func(t *testing.T, _, name string) { must(t, os.Mkdir(name, 0o700)) },
			fault:   "not a regular file", unasked: "not a regular file",
		},
		"a link to a file": {
			prepare: func(t *testing.T, dir, name string) {
				writeOld(t, dir, filepath.Join(dir, "target"))
				must(t, os.Symlink(filepath.Join(dir, "target"), name))
			},
			fault: "not a regular file", unasked: "not a regular file",
		},
		"a link to nothing": {
			prepare: func(t *testing.T, dir, name string) { must(t, os.Symlink(filepath.Join(dir, "target"), name)) },
			fault:   "not a regular file", unasked: "not a regular file",
		},
		"a link to a device": {
			prepare: func(t *testing.T, _, name string) { must(t, os.Symlink(os.DevNull, name)) },
			fault:   "not a regular file", unasked: "not a regular file",
		},
	} {
		for _, force := range []bool{false, true} {
			want := test.unasked
			if force {
				want = test.fault
			}
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				out := &outputFile{"--failures", filepath.Join(dir, "out"), force}
				var inputs []string
				if test.prepare != nil {
					test.prepare(t, dir, out.name)
				}
				if test.inputs != nil {
					inputs = test.inputs(dir)
				}
				before := content(out.name)
				err := out.check(inputs)
				if want != "" {
					if err == nil || !strings.Contains(err.Error(), want) ||
						!strings.Contains(err.Error(), "--failures") {
						t.Errorf("force %v: got %v, want %q", force, err, want)
					}
					if after := content(out.name); after != before {
						t.Errorf("force %v: it has %q now", force, after)
					}
					return
				}
				if err != nil {
					t.Fatalf("force %v: %v", force, err)
				}
				must(t, out.write(func(w io.Writer) error {
					_, err := io.WriteString(w, fresh)
					return err
				}))
				if after := content(out.name); after != fresh {
					t.Errorf("force %v: it has %q", force, after)
				}
				onlyOutputs(t, dir)
			})
		}
	}
	t.Run("a device", func(t *testing.T) {
		out := &outputFile{"--failures", os.DevNull, true}
		if err := out.check(nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		out := &outputFile{"--failures", filepath.Join(t.TempDir(), "none", "out"), true}
		if err := out.check(nil); err == nil || !strings.Contains(err.Error(), "directory does not exist") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("made meanwhile", func(t *testing.T) {
		dir := t.TempDir()
		out := &outputFile{"--failures", filepath.Join(dir, "out"), false}
		must(t, out.check(nil))
		err := out.write(func(io.Writer) error { writeOld(t, dir, out.name); return nil })
		if err == nil || content(out.name) != old {
			t.Errorf("%v, and it has %q", err, content(out.name))
		}
		onlyOutputs(t, dir)
	})
	t.Run("broken off", func(t *testing.T) {
		dir := t.TempDir()
		out := &outputFile{"--failures", filepath.Join(dir, "out"), true}
		writeOld(t, dir, out.name)
		broken := errors.New("broken off")
		if err := out.write(func(io.Writer) error { return broken }); !errors.Is(err, broken) ||
			content(out.name) != old {
			t.Errorf("%v, and it has %q", err, content(out.name))
		}
		onlyOutputs(t, dir)
	})
}

func writeOld(t *testing.T, _, name string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte("the former content"), 0o600))
}

func content(name string) string {
	text, _ := os.ReadFile(name) // no file counts as an empty one
	return string(text)
}

// onlyOutputs checks that no temporary file is left.
func onlyOutputs(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("%v stays", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOutputsReplaceNoArchive names the archive, an existing file and a device as outputs of replays and exports.
// They stay unchanged.
func TestOutputsReplaceNoArchive(t *testing.T) {
	dir := t.TempDir()
	source, kept := filepath.Join(dir, "events.ndjson"), filepath.Join(dir, "kept")
	line := `{"type":"track","userId":"u","event":"E","messageId":"message-1"}` + "\n"
	must(t, os.WriteFile(source, []byte(line), 0o600))
	writeOld(t, dir, kept)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"replay", "--failures", source, source}, "command reads"},
		{[]string{"replay", "--failures", source, "--force", source}, "command reads"},
		{[]string{"replay", "--report", source, "--force", dir}, "command reads"},
		{[]string{"replay", "--report", kept, "--force", "--user-file", kept, source}, "command reads"},
		{[]string{"replay", "--report", kept, source}, "add --force"},
		{[]string{"replay", "--failures", os.DevNull, "--force", source}, "not a regular file"},
		{[]string{"replay", "--failures", filepath.Join(dir, "new"), "--report", filepath.Join(dir, ".", "new"),
			source}, "name one file"},
		{[]string{"deliveries", "export", "--out", kept}, "add --force"},
	} {
		args := append(test.args, "--data-dir", filepath.Join(dir, "data"))
		code, stdout, stderr := runCommand(t, "", args...)
		if code != exitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: exit code %d, %s%s, want %q", args, code, stdout, stderr, test.want)
		}
	}
	if content(source) != line || content(kept) != "the former content" {
		t.Errorf("changed to %q and %q", content(source), content(kept))
	}
	if device, err := os.Stat(os.DevNull); err != nil || device.Mode().IsRegular() {
		t.Errorf("%s is %v, %v", os.DevNull, device, err)
	}
}
