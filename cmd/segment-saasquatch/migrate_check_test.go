package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"segment-saasquatch/adapter/migratecheck"
)

// namesServer is a tenant with these names. It answers in pages of 2.
func namesServer(t *testing.T, v *migratecheck.Vocabulary) (env map[string]string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Query     string
			Variables struct{ Offset int }
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		page := func(names []string, element func(string) any) map[string]any {
			from := min(request.Variables.Offset, len(names))
			data := []any{}
			for _, name := range names[from:min(from+2, len(names))] {
				data = append(data, element(name))
			}
			return map[string]any{"data": data, "totalCount": len(names)}
		}
		data := map[string]any{}
		switch {
		case strings.Contains(request.Query, "userEventKeys("):
			data["userEventKeys"] = page(v.EventKeys, func(name string) any { return name })
		case strings.Contains(request.Query, "customFields("):
			data["customFields"] = page(v.CustomFields, func(name string) any { return map[string]any{"key": name} })
		case strings.Contains(request.Query, "segments("):
			data["segments"] = page(v.Segments, func(name string) any {
				status := "ACTIVE"
				if slices.Contains(v.Archived, name) {
					status = "ARCHIVED"
				}
				return map[string]any{"key": name, "status": status}
			})
		default:
			t.Errorf("query %q", request.Query)
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"data": data}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return map[string]string{"SAASQUATCH_TENANT_ALIAS": "test_moving", "SAASQUATCH_API_KEY": "TEST_key",
		"SAASQUATCH_BASE_URL": server.URL}
}

// runMigrateCheck runs migrate-check in this process.
func runMigrateCheck(
	t *testing.T, env map[string]string, stdin string, args ...string,
) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	lookup := func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
	code = run(t.Context(), append([]string{"migrate-check"}, args...), lookup,
		strings.NewReader(stdin), &out, &errOut)
	return code, out.String(), errOut.String()
}

// TestMigrateCheckGolden runs the command on each testdata/migrate-check/*: the names of tenant.json, the events of
// events.ndjson, and config.yaml if it exists. want.txt has the output, and args.txt the arguments, one a line.
func TestMigrateCheckGolden(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob(filepath.Join("..", "..", "testdata", "migrate-check", "*"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("no golden cases (%v)", err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			read := func(name string) string {
				text, err := os.ReadFile(filepath.Join(folder, name))
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				return string(text)
			}
			var tenant migratecheck.Vocabulary
			if err := json.Unmarshal([]byte(read("tenant.json")), &tenant); err != nil {
				t.Fatal(err)
			}
			args := strings.Fields(read("args.txt"))
			given := append([]string{"-"}, args...)
			if read("config.yaml") != "" {
				given = append(given, "--config", filepath.Join(folder, "config.yaml"))
			}
			code, stdout, stderr := runMigrateCheck(t, namesServer(t, &tenant), read("events.ndjson"), given...)
			got := fmt.Sprintf("$ migrate-check %s\n%s", strings.Join(append([]string{"-"}, args...), " "), stdout)
			if stderr != "" {
				got += "\nstandard error:\n" + stderr
			}
			got += fmt.Sprintf("\nexit code %d\n", code)
			if strings.ContainsAny(got, "\x1b\x07\r\x7f\u009b\u202e") {
				t.Errorf("a terminal would obey %q", got)
			}
			compareGolden(t, filepath.Join(folder, "want.txt"), []byte(got))
		})
	}
}

// TestMigrateCheckReconciles adds the printed lines to the configuration file. Then no event key differs.
func TestMigrateCheckReconciles(t *testing.T) {
	t.Parallel()
	tenant := &migratecheck.Vocabulary{EventKeys: []string{"signup_completed", "usersignedup", "purchase",
		"refund", "Pläne", "購入"}}
	var events strings.Builder
	for _, name := range []string{"Signup Completed", "userSignedUp", "Order Completed",
		"Order Refunded", "Pläne", "購入"} {
		fmt.Fprintf(&events, `{"type":"track","userId":"u","event":%q}`+"\n", name)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	const before = "events:\n  remap_orders: false\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	env := namesServer(t, tenant)
	code, stdout, stderr := runMigrateCheck(t, env, events.String(), "-", "--config", file)
	_, lines, printed := strings.Cut(stdout, "inside default):\n\n")
	if code != exitFailed || !printed || !strings.Contains(stderr, "has: 6\n") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := runMigrateCheck(t, env, events.String(), "-", "--config", file); code != exitOK ||
		!strings.Contains(stdout, "no difference") {
		t.Errorf("exit code %d with\n%s\n%s%s", code, lines, stdout, stderr)
	}
	if code, stdout, _ := runMigrateCheck(t, env, events.String(), "-", "--config", file, "--limit", "1",
		"--json"); code != exitOK || !strings.Contains(stdout, `"more":true,"differences":0`) {
		t.Errorf("with a limit: exit code %d, %s", code, stdout)
	}
}

func TestMigrateCheckRefusals(t *testing.T) {
	t.Parallel()
	env := namesServer(t, &migratecheck.Vocabulary{})
	damaged := filepath.Join(t.TempDir(), "a.gz")
	if err := os.WriteFile(damaged, []byte("\x1f\x8b\x08\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		env  map[string]string
		args []string
		code int
		text string
	}{
		{env, nil, exitUsage, "requires at least 1 arg"},
		{env, []string{"-", "--sample", "2"}, exitUsage, "--sample"},
		{env, []string{"-", "--limit", "-1"}, exitUsage, "limit is -1"},
		{env, []string{"-", "--from", "2026-11-02", "--to", "2026-11-01"}, exitUsage, "before from"},
		{env, []string{"-", "--connection", "other"}, exitUsage, "no such connection"},
		{nil, []string{"-"}, exitUsage, "SAASQUATCH_TENANT_ALIAS"},
		{env, []string{filepath.Join(t.TempDir(), "none")}, exitFailed, "no log is there"},
		{env, []string{damaged}, exitFailed, "could not be read"},
		{map[string]string{"SAASQUATCH_TENANT_ALIAS": "test_x", "SAASQUATCH_API_KEY": "TEST_x",
			"SAASQUATCH_BASE_URL": "http://127.0.0.1:1"}, []string{"-"}, exitFailed, "list event keys"},
	} {
		if code, stdout, stderr := runMigrateCheck(t, test.env, "", test.args...); code != test.code ||
			!strings.Contains(stderr, test.text) {
			t.Errorf("%v: exit code %d, want %d with %q\n%s%s", test.args, code, test.code, test.text, stdout, stderr)
		}
	}
}

// TestMigrateCheckAgainstTheSandbox compares with a tenant that has other names, before and after a correction of the
// configuration.
func TestMigrateCheckAgainstTheSandbox(t *testing.T) {
	t.Parallel()
	sandbox := startSandbox(t)
	user := sandbox + "/api/v1/" + sandboxTenant + "/open/account/u-1/user/u-1"
	call(t, "PUT", user, "application/json", `{"id":"u-1","accountId":"u-1","customFields":{"plan":"pro"},`+
		`"segments":["vip"]}`)
	for i := range 25 { // more than a default page
		call(t, "POST", user+"/events", "application/json",
			fmt.Sprintf(`{"userId":"u-1","accountId":"u-1","events":[{"key":"step_%d"},{"key":"purchase",`+
				`"fields":{"currency":"USD"}}]}`, i))
	}
	dir := t.TempDir()
	var events strings.Builder
	for i := range 25 {
		fmt.Fprintf(&events, `{"type":"track","userId":"u-1","event":"Step %d"}`+"\n"+`{"type":"track",`+
			`"userId":"u-1","event":"Order Completed"}`+"\n", i)
	}
	log := filepath.Join(dir, "events.json")
	if err := os.WriteFile(log, []byte(events.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(args ...string) (code int, found checked) {
		t.Helper()
		p := start(t, replayEnv(sandbox, dir), append([]string{"migrate-check", log, "--json"}, args...)...)
		code = p.wait()
		if err := json.Unmarshal([]byte(p.stdout.String()), &found); err != nil {
			t.Fatal(err)
		}
		return code, found
	}
	code, found := check()
	if code != exitFailed || found.EventKeys != 26 || found.CustomFields != 1 || found.Segments != 1 ||
		found.Sample.Events != 50 || found.Differences != 25 ||
		!slices.Equal(found.Report.Unused.CustomFields, []string{"plan"}) || len(found.Report.Unused.EventKeys) != 0 {
		t.Fatalf("exit code %d, %+v %+v", code, found, found.Report)
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(found.Config), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, found := check("--config", file); code != exitOK || found.Differences != 0 || found.Config != "" {
		t.Errorf("with its lines: exit code %d, %+v %+v", code, found, found.Report)
	}
	if n := len(arrivedKeys(t, sandbox)); n != 1 { // the events without a key, of the user, of the user
		t.Errorf("%d kinds of events arrived", n)
	}
	if _, err := os.Stat(filepath.Join(dir, "adapter.db")); !os.IsNotExist(err) {
		t.Errorf("a store: %v", err)
	}
}
