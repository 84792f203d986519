package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// env makes an environment of a map.
func env(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		text, ok := m[name]
		return text, ok
	}
}

// files makes a reader of files out of a map.
func files(m map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		text, ok := m[path]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	}
}

func yamlSource(text string) Source {
	return Source{File: "c.yaml", ReadFile: files(map[string]string{"c.yaml": text})}
}

func mustLoad(t *testing.T, src Source) *Config {
	t.Helper()
	c, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reveal lists the texts of secrets.
func reveal(secrets []adapter.Secret) []string {
	var texts []string
	for _, s := range secrets {
		texts = append(texts, s.Reveal())
	}
	return texts
}

func TestLoadNothing(t *testing.T) {
	for name, src := range map[string]Source{
		"zero":            {},
		"empty file":      yamlSource(""),
		"comments":        yamlSource("# nothing\n"),
		"null":            yamlSource("~"),
		"document marker": yamlSource("---\n"),
		"null sections":   yamlSource("log:\ntls:\nsegment:\nsaasquatch:\nevents:\nconnections:\n"),
		"null values": yamlSource("listen_addr:\ninsecure: null\nsegment: {shared_secret: }\n" +
			"account_id:\ninvalid_values:\n"),
		"empty variables":  {Env: func(string) (string, bool) { return "", true }},
		"no flag was used": {Flags: flags(t)},
	} {
		t.Run(name, func(t *testing.T) {
			if c, want := mustLoad(t, src), Default(); !reflect.DeepEqual(c, want) {
				t.Errorf("got %+v\nwant %+v", c, want)
			}
		})
	}
	c := Default()
	if len(c.Connections) != 1 || c.Connections[0].Name != "default" || c.Connections[0].Path != "/segment" {
		t.Errorf("connections = %+v", c.Connections)
	}
	if !reflect.DeepEqual(c.Connections[0].Mapping, mapping.DefaultRules()) {
		t.Errorf("mapping = %+v", c.Connections[0].Mapping)
	}
}

// TestPlaceholderUserIDs checks that null is a word in that list and that [] empties the list.
func TestPlaceholderUserIDs(t *testing.T) {
	for text, want := range map[string][]string{
		"[]":                            {},
		"[null, undefined, ~, .nan, 0]": {"null", "undefined", "~", ".nan", "0"},
		"[Null, NULL, 'null']":          {"Null", "NULL", "null"},
		"guest":                         {"guest"},
		"null":                          mapping.DefaultPlaceholderUserIDs(),
		"":                              mapping.DefaultPlaceholderUserIDs(),
	} {
		c := mustLoad(t, yamlSource("placeholder_user_ids: "+text))
		if got := c.Connections[0].Mapping.PlaceholderUserIDs; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if _, err := Load(yamlSource("placeholder_user_ids: [null, ]")); err != nil {
		t.Error(err)
	}
	if _, err := Load(yamlSource("placeholder_user_ids: ['null', '']")); err == nil {
		t.Error("an empty element is accepted")
	}
}

// TestFill fills in a tenant, as a command with its own tenant does.
func TestFill(t *testing.T) {
	c := mustLoad(t, Source{})
	conn := &c.Connections[0]
	conn.Segment.SharedSecret = []adapter.Secret{adapter.NewSecret("made-for-the-sandbox")}
	conn.SaaSquatch.TenantAlias = "test_sandbox"
	conn.SaaSquatch.APIKey = adapter.NewSecret("TEST_sandbox")
	conn.SaaSquatch.BaseURL = "http://127.0.0.1:1234"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	RegisterFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return set
}

// TestPrecedence gives every setting that has a flag or a variable a value in each source and removes the sources from
// the top.
func TestPrecedence(t *testing.T) {
	values := map[string][3]string{ // kind → file, environment, flag
		"text":     {"file", "env", "flag"},
		"bool":     {"true", "false", "true"},
		"int":      {"1", "2", "3"},
		"number":   {"1", "2.5", "3"},
		"size":     {"1MiB", "2MiB", "3MiB"},
		"duration": {"1s", "2s", "3s"},
		"secret":   {"file", "env", ""},
		"secrets":  {"file", "env", ""},
	}
	special := map[string][3]string{
		"path":                {"/file", "/env", "/flag"},
		"trusted_proxies":     {"10.0.0.0/8", "10.0.0.0/9", "10.0.0.0/10"},
		"saasquatch.base_url": {"https://file", "https://env", "https://flag"},
	}
	for _, s := range settings {
		if s.Env == "" {
			continue
		}
		t.Run(s.Key, func(t *testing.T) {
			want, ok := special[s.Key]
			if !ok {
				want = values[s.Kind]
			}
			parts := strings.Split(s.Key, ".")
			file := strings.Join(parts, ": {") + ": " + want[0] + strings.Repeat("}", len(parts)-1)
			src := yamlSource(file)
			src.Env = env(map[string]string{s.Env: want[1]})
			if s.Flag != "" {
				src.Flags = flags(t, "--"+s.Flag+"="+want[2])
				checkSetting(t, s, src, want[2], "--"+s.Flag)
				src.Flags = flags(t)
			}
			checkSetting(t, s, src, want[1], s.Env)
			src.ReadFile = files(map[string]string{"c.yaml": file, "/run/value": want[1] + "\n"})
			src.Env = env(map[string]string{s.EnvFile(): "/run/value"})
			checkSetting(t, s, src, want[1], s.EnvFile())
			src.Env = nil
			checkSetting(t, s, src, want[0], "c.yaml:1")
			checkSetting(t, s, Source{}, s.Default, "default")
		})
	}
}

func checkSetting(t *testing.T, s setting, src Source, want, from string) {
	t.Helper()
	c := mustLoad(t, src)
	var got string
	switch f := s.field(c, &c.Connections[0]).(type) {
	case scalar[adapter.Secret]:
		got = f.p.Reveal()
	case list[adapter.Secret]:
		got = strings.Join(reveal(*f.p), ",")
	default:
		got = nodeText(f.node())
	}
	if got != want || string(c.originOf(s.Key)) != from {
		t.Errorf("%s = %q from %s, want %q from %s", s.Key, got, c.originOf(s.Key), want, from)
	}
}

func TestEnvironment(t *testing.T) {
	secret64k := strings.Repeat("x", maxValueSize+1)
	tests := []struct {
		name  string
		env   map[string]string
		files map[string]string
		want  string // the error, or the shared secrets joined by |
	}{
		{"list", map[string]string{"SEGMENT_SHARED_SECRET": "one, two"}, nil, "one|two"},
		{"inner newline kept", map[string]string{"SEGMENT_SHARED_SECRET_FILE": "/s"},
			map[string]string{"/s": "a\nb\n"}, "a\nb"},
		{"file list", map[string]string{"SEGMENT_SHARED_SECRET_FILE": "/s"}, map[string]string{"/s": "one,two\r\n"},
			"one|two"},
		{"empty twin", map[string]string{"SEGMENT_SHARED_SECRET": "one", "SEGMENT_SHARED_SECRET_FILE": ""}, nil,
			"one"},
		{"empty element", map[string]string{"SEGMENT_SHARED_SECRET": "one,,two"}, nil,
			"SEGMENT_SHARED_SECRET: segment.shared_secret: element 2 of 3 is empty: remove it or fill it in"},
		{"comma at the end", map[string]string{"SEGMENT_SHARED_SECRET": "one,"}, nil,
			"SEGMENT_SHARED_SECRET: segment.shared_secret: element 2 of 2 is empty: remove it or fill it in"},
		{"both", map[string]string{"SEGMENT_SHARED_SECRET": "one", "SEGMENT_SHARED_SECRET_FILE": "/s"},
			map[string]string{"/s": "one"},
			"SEGMENT_SHARED_SECRET: segment.shared_secret: " +
				"is set together with SEGMENT_SHARED_SECRET_FILE: unset one of them"},
		{"secret as path", map[string]string{"SAASQUATCH_API_KEY_FILE": "hunter2"}, nil,
			"SAASQUATCH_API_KEY_FILE: saasquatch.api_key: " +
				"cannot read the file it names (file does not exist): fix the path or the file's permissions"},
		{"empty file", map[string]string{"SAASQUATCH_API_KEY_FILE": "/s"}, map[string]string{"/s": "\n"},
			"SAASQUATCH_API_KEY_FILE: saasquatch.api_key: " +
				"the file it names is empty: write the value into it or unset the variable"},
		{"large file", map[string]string{"SAASQUATCH_API_KEY_FILE": "/s"}, map[string]string{"/s": secret64k},
			"SAASQUATCH_API_KEY_FILE: saasquatch.api_key: " +
				"the file it names is larger than 64 KiB: name a file that contains the value alone"},
		{"several", map[string]string{"BODY_LIMIT": "lots", "INSECURE": "maybe", "SAASQUATCH_RATE_LIMIT": "NaN",
			"ANSWER_BUDGET": "4"}, nil,
			strings.Join([]string{
				`BODY_LIMIT: body_limit: is "lots": ` +
					`write a size such as 10MiB, 64KiB, 2GiB, 10MB or a whole number of bytes`,
				`ANSWER_BUDGET: answer_budget: is "4", which has no unit: write a duration such as 30s, 12h or 180d`,
				`INSECURE: insecure: is "maybe": write true or false`,
				`SAASQUATCH_RATE_LIMIT: saasquatch.rate_limit: is "NaN": write a number such as 50 or 0.5`,
			}, "\n")},
		{"not UTF-8", map[string]string{"DATA_DIR": "a\xff"}, nil,
			"DATA_DIR: data_dir: contains a control character or is not UTF-8: write plain text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(Source{Env: env(tt.env), ReadFile: files(tt.files)})
			got := fmt.Sprint(err)
			if err == nil {
				got = strings.Join(reveal(c.Connections[0].Segment.SharedSecret), "|")
			} else {
				eachFault(t, err)
			}
			if got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	c := mustLoad(t, Source{Flags: flags(t, "--insecure", "--listen-addr", "",
		"--saasquatch-base-url=http://[::1]:9/")})
	if !c.Insecure || c.ListenAddr != "" || c.Connections[0].SaaSquatch.BaseURL != "http://[::1]:9" {
		t.Errorf("got %+v", c)
	}
	_, err := Load(Source{Flags: flags(t, "--insecure=maybe", "--saasquatch-concurrency=x")})
	want := `--insecure: insecure: is "maybe": write true or false
--saasquatch-concurrency: saasquatch.concurrency: is "x": write a whole number in decimal digits`
	if fmt.Sprint(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	// A command may have only some of the flags.
	if _, err := Load(Source{Flags: pflag.NewFlagSet("test", pflag.ContinueOnError)}); err != nil {
		t.Error(err)
	}
}

// TestConnectionsAndOverrides: no variable or flag sets a connection of a list.
func TestConnectionsAndOverrides(t *testing.T) {
	src := yamlSource("connections: [{name: live}]\n")
	src.Env = env(map[string]string{"SAASQUATCH_API_KEY": "hunter2hunter2", "LOG_LEVEL": "debug"})
	src.Flags = flags(t, "--webhook-path=/x", "--insecure")
	_, err := Load(src)
	const problem = "cannot be set while the file has connections: " +
		"unset it and set the key of the connection it is meant for"
	const want = "SAASQUATCH_API_KEY: saasquatch.api_key: " + problem + "\n--webhook-path: path: " + problem
	if fmt.Sprint(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	src.Env, src.Flags = env(map[string]string{"SAASQUATCH_API_KEY": "", "LOG_LEVEL": "debug"}), flags(t, "--insecure")
	c := mustLoad(t, src)
	if c.Log.Level != "debug" || !c.Insecure || c.Connections[0].Name != "live" {
		t.Errorf("got %+v", c)
	}
}

func TestReadFaults(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, []byte("#"+strings.Repeat("x", maxFileSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "full.yaml")
	if err := os.WriteFile(full, []byte("#"+strings.Repeat("x", maxFileSize-1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{File: full}); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{
		large:                             "is larger than 1 MiB",
		dir:                               "cannot read the configuration file (is a directory)",
		filepath.Join(dir, "absent.yaml"): "cannot read the configuration file (no such file or directory)",
	} {
		_, err := Load(Source{File: path})
		fault, ok := errors.AsType[*Fault](err)
		if !ok || fault.Where != path || !strings.Contains(fault.Problem, want) {
			t.Errorf("Load(%s) = %v", path, err)
		}
	}
	fails := func(string) ([]byte, error) { return nil, errors.New("hunter2") }
	_, err := Load(Source{File: "c.yaml", ReadFile: fails})
	if fmt.Sprint(err) != "c.yaml: cannot read the configuration file (reading failed)" {
		t.Error(err)
	}
}

// TestAliasBomb: a small file cannot describe an unbounded configuration.
func TestAliasBomb(t *testing.T) {
	names := strings.Repeat("a, ", 40_000)
	bomb := "connections:\n  - events: {only: &a [" + names + "a]}\n" +
		strings.Repeat("  - events: {only: *a}\n", 1000)
	start := time.Now()
	_, err := Load(yamlSource(bomb))
	fault, ok := errors.AsType[*Fault](err)
	if !ok || !strings.Contains(fault.Problem, "more than 100000 values") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	for _, text := range []string{
		"a: &a [*a]\n", "account_id: &a [*a]\n", "connections: &a [*a]\n", "events: &a {keys: *a}\n",
		"log: &a {level: *a}\n",
		strings.Repeat("[", 5000), strings.Repeat("- ", 5000), strings.Repeat("{a: ", 5000),
	} {
		if _, err := Load(yamlSource(text)); err == nil {
			t.Errorf("no fault in %.30q", text)
		}
	}
}

func TestManyFaults(t *testing.T) {
	var b strings.Builder
	for i := range maxFaults + 5 {
		fmt.Fprintf(&b, "a%s: 1\n", strings.Repeat("b", i))
	}
	_, err := Load(yamlSource(b.String()))
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != maxFaults+1 || lines[maxFaults] != "and 5 more faults: fix these first" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestLiteralText(t *testing.T) {
	for _, text := range []string{"0.01", "100", "1", "1e2", "0.10", "1.000000000000000000"} {
		for _, quotes := range []string{"", `"`} {
			c := mustLoad(t, yamlSource("events: {revenue_scale: "+quotes+text+quotes+"}"))
			if got := c.Connections[0].Mapping.RevenueScale; got != text {
				t.Errorf("revenue_scale = %q, want %q", got, text)
			}
		}
	}
	c := mustLoad(t, yamlSource("invalid_values: null\n"+
		"segment: {shared_secret: 0123456789, bearer_token: [1e9, 2026-01-01]}\nevents: {keys: {404: 0x10}}"))
	conn := c.Connections[0]
	if conn.Mapping.InvalidValues != mapping.InvalidNull {
		t.Errorf("invalid_values = %q", conn.Mapping.InvalidValues)
	}
	got := append(reveal(conn.Segment.SharedSecret), reveal(conn.Segment.BearerToken)...)
	if want := []string{"0123456789", "1e9", "2026-01-01"}; !reflect.DeepEqual(got, want) {
		t.Errorf("secrets = %q", got)
	}
	if conn.Mapping.Keys["404"] != "0x10" {
		t.Errorf("keys = %v", conn.Mapping.Keys)
	}
}

func TestIsSet(t *testing.T) {
	src := yamlSource("listen_addr: ':8080'\nsaasquatch: {concurrency: 64}\n")
	src.Env = env(map[string]string{"DATA_DIR": "./data"})
	src.Flags = flags(t, "--delivery=durable")
	c := mustLoad(t, src)
	for key, want := range map[string]bool{
		"listen_addr": true, "saasquatch.concurrency": true, "data_dir": true, "delivery": true,
		"saasquatch.min_concurrency": false, "log.level": false,
	} {
		if got := c.IsSet(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}
