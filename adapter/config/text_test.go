package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goodTexts are valid values of the settings that are checked as texts.
var goodTexts = map[string]string{
	"listen_addr": "127.0.0.1:8080", "data_dir": "./data", "admin.listen_addr": "127.0.0.1:9090",
	"tls.cert_file": "/etc/cert.pem", "tls.key_file": "/etc/key.pem", "path": "/segment",
	"segment.header.name": "X-My-Secret", "saasquatch.tenant_alias": "test_abc", "saasquatch.user_name": "AC123",
	"saasquatch.base_url": "https://app.referralsaasquatch.com",
}

// spoiltText makes an invalid text from a valid one.
type spoiltText struct {
	name  string
	spoil func(good string) string
}

func spoiltTexts() []spoiltText {
	put := func(before, after string) func(string) string {
		return func(good string) string { return before + good + after }
	}
	list := []spoiltText{
		{"space in front", put(" ", "")}, {"space behind", put("", " ")}, {"no-break space behind", put("", "\u00a0")},
		{"byte order mark", put("\ufeff", "")}, {"zero-width space", put("", "\u200b")},
		{"line break", put("", "\nmore")},
		{"NUL", put("", "\x00")}, {"not UTF-8", put("", "\xff")},
		{"variable", put("${HUNTER2}", "")}, {"variable behind", put("", "${hunter2}")},
		{"variable alone", func(string) string { return "$HUNTER2" }},
		{"variable in lower case", func(string) string { return "$hunter" }}, {"command", put("", "$(hostname)")},
		{"Windows", put("%HUNTER2%", "")},
		{"template", put("", "{{ .Values.hunter2 }}")}, {"Azure", put("", "#{hunter2}#")},
		{"ERB", put("<%= hunter2 %>", "")}, {"brackets", put("", "<your value>")}, {"dots", put("", "…")},
	}
	for _, pair := range quotePairs {
		runes := []rune(pair)
		list = append(list, spoiltText{"quotes " + pair, put(string(runes[0]), string(runes[1]))})
	}
	return list
}

// textFaults sets one setting to a text in one way and returns its faults.
func textFaults(t *testing.T, s Setting, way, text string) (list []*Fault, where string) {
	t.Helper()
	var src Source
	switch way {
	case "env":
		src, where = Source{Env: env(map[string]string{s.Env: text})}, s.Env
	case "file":
		src, where = Source{Env: env(map[string]string{s.EnvFile(): "/v"}),
			ReadFile: files(map[string]string{"/v": text + "\n"})}, s.EnvFile()
	case "flag":
		src, where = Source{Flags: flags(t, "--"+s.Flag, text)}, "--"+s.Flag
	case "yaml":
		src, where = yamlSource(nested(s.Key, yamlText(t, text))), "c.yaml:1"
	}
	c, err := Load(src)
	if err == nil {
		// Set the other half of a pair, so that the setting is checked.
		c.Connections[0].Segment.Header.Value = valid().Connections[0].Segment.SharedSecret
		if c.TLS.CertFile == "" {
			c.TLS.CertFile = "/nonexistent/cert.pem"
		}
		if c.TLS.KeyFile == "" {
			c.TLS.KeyFile = "/nonexistent/key.pem"
		}
		err = c.Validate()
	}
	for _, fault := range faultsOf(err) {
		if fault.Key == s.Key && !strings.HasPrefix(fault.Problem, "cannot be read") {
			list = append(list, fault)
		}
	}
	return list, where
}

// TestSpoiltTexts: every name, path or address, spoilt and read in every way, has a fault at its place.
func TestSpoiltTexts(t *testing.T) {
	checked := slices.Sorted(maps.Keys(goodTexts))
	for _, s := range Reference() {
		good, ok := goodTexts[s.Key]
		if !ok {
			continue
		}
		checked = slices.DeleteFunc(checked, func(key string) bool { return key == s.Key })
		for _, way := range []string{"env", "file", "flag", "yaml"} {
			if list, _ := textFaults(t, s, way, good); len(list) > 0 {
				t.Errorf("%s=%s by %s: %v", s.Key, good, way, list)
			}
			for _, spoilt := range spoiltTexts() {
				if way == "yaml" && spoilt.name == "not UTF-8" {
					continue // JSON cannot contain it
				}
				text := spoilt.spoil(good)
				list, where := textFaults(t, s, way, text)
				if len(list) != 1 || list[0].Where != where || !strings.Contains(list[0].Problem, ": ") {
					t.Errorf("%s=%q by %s: %v, want one fault at %s with a remedy", s.Key, text, way, list, where)
				}
			}
		}
	}
	if len(checked) > 0 {
		t.Errorf("no settings: %q", checked)
	}
}

// TestFilePaths: the directory for the events may be missing, but it may not be a file.
func TestFilePaths(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		dir: "", dir + "/absent/deeper": "", "data": "", ".": "", "/": "", "./~/data": "", "/srv/a~b": "", "~~": "",
		"/srv/data 1": "", "/srv/$1": "", "C:data": "", "/100%": "",
		file: "is no directory", file + "/": "is no directory",
		"": "is empty", "~": "a shell", "~/data": "a shell", "~user/data": "a shell", "$HOME/data": "${NAME}",
		"${HOME}/data": "${NAME}", "/srv/$NAME": "${NAME}", "/srv/$(hostname)": "${NAME}",
		"%APPDATA%/data": "${NAME}", "file:///data": "is a URL", "s3://bucket": "is a URL",
	} {
		c := valid()
		c.DataDir = text
		err := c.Validate()
		list := faultsOf(err)
		found := len(list) == 1 && list[0].Key == "data_dir" && strings.Contains(list[0].Problem, want)
		if want == "" && err != nil || want != "" && !found {
			t.Errorf("data_dir %q: %v, want %q", text, err, want)
		}
		// Direct delivery stores nothing in it.
		c.Delivery = DeliveryDirect
		if err := c.Validate(); err != nil {
			t.Errorf("direct delivery, data_dir %q: %v", text, err)
		}
	}
	for text, want := range map[string]string{"~/cert.pem": "a shell", "${CERT}": "${NAME}",
		"$HOME/cert.pem":  "${NAME}",
		"'/etc/cert.pem'": "quotation marks"} {
		c := valid()
		c.TLS = TLS{CertFile: text, KeyFile: "/nonexistent/key.pem"}
		if list := faultsOf(c.Validate()); len(list) != 1 || list[0].Key != "tls.cert_file" ||
			!strings.Contains(list[0].Problem, want) {
			t.Errorf("tls.cert_file %q: %v, want %q", text, list, want)
		}
	}
}

func TestTenantAliasPlaceholders(t *testing.T) {
	for _, alias := range []string{"changeme", "change-me", "test_change_me", "your-tenant-alias", "YOUR_TENANT",
		"TODO",
		"none", "null", "undefined", "xxxx", "test_xxx", "test_...", "test_…", "test_"} {
		if aliasProblem(alias) == "" && alias != "test_" {
			t.Errorf("%q passes as an alias", alias)
		}
		if userNameProblem(alias) == "" && alias != "test_" {
			t.Errorf("%q passes as a user name", alias)
		}
	}
	for _, alias := range []string{"test_abc", "yourbrand", "none-such", "acme", "aboih12h16t", "todoist", "test_x"} {
		if problem := aliasProblem(alias); problem != "" {
			t.Errorf("%q: %s", alias, problem)
		}
	}
}

// TestNames: an event name may contain anything except a variable or a template that was not replaced.
func TestNames(t *testing.T) {
	for _, tt := range []struct{ yaml, faults, warnings string }{
		{"account_id: ${ACC}", "account_id", ""},
		{"account_id: [userId, '{{ .Values.account }}']", "account_id", ""},
		{"account_id: 'context.groupId, userId'", "account_id", ""},
		{"account_id: [context.groupId, userId]", "", ""},
		{"events: {only: 'Order Completed, Signed Up'}", "events.only", ""},
		{"events: {only: 'Order Completed,Signed Up'}", "events.only", ""},
		{"events: {only: \"Order Completed\\nSigned Up\"}", "events.only", ""},
		{"events: {only: |\n  Order Completed\n  Signed Up\n}", "events.only", ""},
		{"events: {only: ['Order Completed, Signed Up']}", "", ""},
		{"events: {only: [Order Completed, Signed Up]}", "", ""},
		{"events: {only: Order Completed}", "", ""},
		{"events: {only: '$5 <off>, or so'}", "events.only", ""},
		{"events: {only: ['$5 <off>', '100% …', \"'quoted'\", '$HOME', changeme]}", "", ""},
		{"events: {except: 'A, B'}", "events.except", ""},
		{"events: {except: ['${EVENTS}']}", "events.except", ""},
		{"events: {except: [' A']}", "", "events.except"},
		{"events: {keys: {'Signed Up ': signup}}", "", "events.keys"},
		{"events: {keys: {A: '${KEY}'}}", "events.keys", ""},
		{"events: {keys: {'${NAME}': a}}", "events.keys", ""},
		{"events: {keys: {A: '" + strings.Repeat("x", 64) + "'}}", "", ""},
		{"events: {keys: {A: '" + strings.Repeat("é", 65) + "'}}", "", "events.keys"},
		{"segment: {header: {name: X_My_Secret}}", "", "segment.header.name"},
	} {
		if strings.Contains(tt.yaml, "|\n") {
			tt.yaml = "events:\n  only: |\n    Order Completed\n    Signed Up\n"
		}
		c, err := Load(yamlSource(tt.yaml))
		var warnings []string
		if err == nil {
			err = c.ValidateMapping()
			for _, warning := range c.Warnings() {
				key, _, _ := strings.Cut(warning, ": ")
				warnings = append(warnings, key)
			}
		}
		if got := strings.Join(faultKeys(err), " "); got != tt.faults {
			t.Errorf("%s: faults %q, want %q: %v", tt.yaml, got, tt.faults, err)
		}
		if got := strings.Join(warnings, " "); got != tt.warnings {
			t.Errorf("%s: warnings %q, want %q", tt.yaml, got, tt.warnings)
		}
	}
}
