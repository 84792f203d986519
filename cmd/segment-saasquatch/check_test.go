package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"segment-saasquatch/adapter/store"
)

// TestCheckRefusesWhatFailsLater checks that serve --check names the setting, the kind of mistake and the remedy of
// faults that would otherwise show while the process serves.
func TestCheckRefusesWhatFailsLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const secret = "topsecret-5f0c9d2e"
	marked := write("marked", "\ufeff"+secret+"\n")
	utf16 := write("utf16", "\xff\xfet\x00o\x00p\x00")
	for name, test := range map[string]struct {
		env  map[string]string
		args []string
		file string
		code int
		want []string
	}{
		"right": {nil, nil, "", exitOK, nil},
		"host as header": {map[string]string{"SEGMENT_HEADER_NAME": "Host", "SEGMENT_HEADER_VALUE": secret}, nil, "",
			exitUsage, []string{"segment.header.name", "X-My-Secret"}},
		"quotes": {map[string]string{"SEGMENT_SHARED_SECRET": `"` + secret + `"`}, nil, "", exitOK,
			[]string{"warning: segment.shared_secret", "remove them"}},
		"bearer": {map[string]string{"SEGMENT_BEARER_TOKEN": "Bearer " + secret}, nil, "", exitUsage,
			[]string{"segment.bearer_token", "write the value alone"}},
		"admin bearer": {map[string]string{"ADMIN_TOKEN": "Bearer " + secret}, nil, "", exitUsage,
			[]string{"admin.token", "write the value alone"}},
		"API key bearer": {map[string]string{"SAASQUATCH_API_KEY": "Bearer TEST_" + secret}, nil, "", exitUsage,
			[]string{"saasquatch.api_key", "write the value alone"}},
		"byte order mark": {map[string]string{"SEGMENT_SHARED_SECRET": "",
			"SEGMENT_SHARED_SECRET_FILE": marked}, nil, "",
			exitUsage, []string{"segment.shared_secret", "save it as UTF-8 without one"}},
		"UTF-16": {map[string]string{"SEGMENT_SHARED_SECRET": "", "SEGMENT_SHARED_SECRET_FILE": utf16}, nil, "",
			exitUsage, []string{"segment.shared_secret", "save it as UTF-8"}},
		"variable": {map[string]string{"SEGMENT_SHARED_SECRET": "${SECRET}"}, nil, "", exitUsage,
			[]string{"segment.shared_secret", "write the secret itself"}},
		"README's dots": {map[string]string{"SAASQUATCH_API_KEY": "TEST_…"}, nil, "", exitUsage,
			[]string{"saasquatch.api_key", "write the secret itself"}},
		"names": {nil, nil, `events: {only: "Order Completed, Signed Up"}`, exitUsage, []string{"events.only",
			"write a list"}},
		"variable in path": {nil, nil, "data_dir: $HOME/data", exitUsage,
			[]string{"data_dir", "write the value itself"}},
		"tilde": {nil, []string{"--data-dir", "~/data"}, "", exitUsage, []string{"data_dir",
			"write the path in full"}},
		"space in address": {nil, []string{"--listen-addr", " :8080"}, "", exitUsage,
			[]string{"listen_addr", "remove it"}},
		"any in address": {nil, []string{"--listen-addr", "*:8080"}, "", exitUsage, []string{"listen_addr",
			"write :8080"}},
		"256 in address": {map[string]string{"ADMIN_LISTEN_ADDR": "256.1.1.1:80"}, nil, "", exitUsage,
			[]string{"admin.listen_addr", "write host:port"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"SEGMENT_SHARED_SECRET": testSecret, "SAASQUATCH_TENANT_ALIAS": "test_x",
				"SAASQUATCH_API_KEY": "TEST_" + secret}
			maps.Copy(env, test.env)
			args := append([]string{"serve", "--check"}, test.args...)
			if test.file != "" {
				args = append(args, "--config", write("config.yaml", test.file))
			}
			code, stdout, stderr := runCommandIn(t, env, "", args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("no %q in %s", want, stderr)
				}
			}
			if test.want == nil && stderr != "" {
				t.Errorf("it says %s", stderr)
			}
			if strings.Contains(stdout+stderr, "topsecret") {
				t.Errorf("a secret shows in %s%s", stdout, stderr)
			}
		})
	}
}

// TestCheckLooksAtTheStore checks that serve --check reports whether a server could deliver from the store, also
// while another server uses it, and that it creates nothing.
func TestCheckLooksAtTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	run := func(env ...string) (int, string, string) {
		all := map[string]string{"SEGMENT_SHARED_SECRET": testSecret, "SAASQUATCH_TENANT_ALIAS": "test_x",
			"SAASQUATCH_API_KEY": "TEST_x", "DATA_DIR": dir}
		for _, variable := range env {
			name, value, _ := strings.Cut(variable, "=")
			all[name] = value
		}
		return runCommandIn(t, all, "", "serve", "--check")
	}
	expect := func(want string) {
		t.Helper()
		if code, stdout, stderr := run(); code != exitOK || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("exit code %d, %q, %q, want %q", code, stdout, stderr, want)
		}
	}
	expect("is not there yet: serve makes it")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it has made %s: %v", dir, err)
	}
	s, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, storeFile)})
	if err != nil {
		t.Fatal(err)
	}
	expect("the store: it is in use by process ")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect("the store: ready")
	code, _, stderr := run("STORE=postgres://user:topsecret@127.0.0.1:1/db")
	if code != exitFailed || !strings.Contains(stderr, "PostgreSQL runs") || strings.Contains(stderr, "topsecret") {
		t.Errorf("no server: exit code %d, %q", code, stderr)
	}
	if code, _, stderr := run("STORE=postgres://user:topsecret@127.0.0.1:1/db", "DELIVERY=direct"); code != exitOK {
		t.Errorf("without a store: exit code %d, %q", code, stderr)
	}
}

// TestServerTokenIsChecked checks that a token that no server accepts is refused before it is sent.
func TestServerTokenIsChecked(t *testing.T) {
	t.Parallel()
	const token = "topsecret-of-sixteen-characters"
	for name, text := range map[string]string{"bearer": "Bearer " + token, "variable": "${ADMIN_TOKEN}",
		"quotes": "'" + token + "'"} {
		for _, args := range [][]string{{"deliveries", "stats"}, {"replay", "list"}} {
			code, stdout, stderr := runCommandIn(t, map[string]string{"ADMIN_TOKEN": text}, "",
				append(args, "--server", "http://127.0.0.1:1")...)
			if code == exitOK || !strings.Contains(stderr, "ADMIN_TOKEN: admin.token: ") ||
				strings.Contains(stdout+stderr, "topsecret") {
				t.Errorf("%s: %v: exit code %d: %s%s", name, args, code, stdout, stderr)
			}
		}
	}
}
