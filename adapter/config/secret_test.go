package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const hidden1, hidden2 = "hunter2-first-secret", "hunter2-second-secret"

// TestSecretsStayHidden puts secrets into every place and looks for them in everything that a Config shows.
func TestSecretsStayHidden(t *testing.T) {
	single := `
segment:
  shared_secret: [hunter2-first-secret, hunter2-second-secret]
  bearer_token: hunter2-first-secret
  basic_key: [hunter2-first-secret]
  header: {name: X-My-Secret, value: [hunter2-second-secret]}
saasquatch: {tenant_alias: abc, api_key: hunter2-first-secret}
`
	process := "store: postgres://user:hunter2-first-secret@host/database\n" +
		"admin: {token: [hunter2-first-secret, 'hunter2-second-secret with spaces']}\n"
	list := "connections:\n  -" + strings.ReplaceAll(single, "\n", "\n    ") + "\n"
	sources := map[string]Source{"single": yamlSource(process + single), "list": yamlSource(process + list)}
	variables, twins, contents := map[string]string{}, map[string]string{}, map[string]string{}
	for _, s := range Reference() {
		if s.Secret {
			variables[s.Env] = hidden1
			twins[s.EnvFile()] = "/run/" + s.Env
			contents["/run/"+s.Env] = hidden2 + "\n"
		}
	}
	sources["environment"] = Source{Env: env(variables)}
	sources["files"] = Source{Env: env(twins), ReadFile: files(contents)}
	for name, src := range sources {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, src)
			asJSON, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			shows := map[string]string{
				"Print":    printed(t, c),
				"Validate": fmt.Sprint(c.Validate()),
				"Warnings": fmt.Sprint(c.Warnings()),
				"JSON":     string(asJSON),
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%s", "%q", "%x", "%X"} {
				shows[verb] = fmt.Sprintf(verb, c) + fmt.Sprintf(verb, *c) + fmt.Sprintf(verb, c.Connections) +
					fmt.Sprintf(verb, &c.Connections[0])
			}
			for where, text := range shows {
				checkHidden(t, where, text)
			}
			if !strings.Contains(shows["Print"], mask) {
				t.Error("Print shows no mask")
			}
		})
	}
}

func checkHidden(t *testing.T, where, text string) {
	t.Helper()
	for _, clear := range []string{pasted, fmt.Sprintf("%x", pasted), fmt.Sprintf("%X", pasted),
		fmt.Sprint([]byte(pasted))[1:]} {
		if strings.Contains(text, clear) {
			t.Errorf("a secret shows in %s:\n%s", where, text)
		}
	}
}

// TestWrongConfigHidesSecrets puts a secret where it does not belong. A configuration that loads nevertheless must not
// show it either.
func TestWrongConfigHidesSecrets(t *testing.T) {
	const s = hidden1
	wrong := []string{s, "- " + s, s + ": x", "? " + s, "{" + s + "}", "*" + s, "!" + s + " x", "&" + s + " x",
		"&" + s + " x: *" + s, "%" + s, "@" + s, "`" + s, "|" + s, "'" + s, `"` + s, `"\` + s, "[" + s, s + ": *" + s}
	for _, value := range []string{
		s, "[" + s + "]", "{" + s + "}", "{" + s + ": x}", "{a: " + s + "}", "[[" + s + "]]", "[{a: " + s + "}]",
		"*" + s, "!" + s + " x", "!!int " + s, "!!bool " + s, "!!null " + s,
		"&" + s + " x", "@" + s, "'" + s, `"` + s, "\n    " + s + ": x", "\n    - " + s, "\n    <<: " + s,
		"\n    " + s + ":", "[true, " + s + "]", `"` + s + `\n"`, `" ` + s + `"`, `""`, "[ " + s + ", '']",
	} {
		for _, setting := range Reference() {
			if setting.Secret {
				parts := strings.Split(setting.Key, ".")
				section := strings.Join(parts[:len(parts)-1], ":\n ")
				wrong = append(wrong, section+":\n  "+parts[len(parts)-1]+": "+value)
			}
		}
		for _, section := range []string{"segment", "saasquatch", "connections", "unknown"} {
			wrong = append(wrong, section+": "+value)
		}
	}
	for _, key := range []string{"segment", "saasquatch"} {
		wrong = append(wrong, key+":\n  shared_secret:"+s, key+":\n  api_key="+s+": x", key+":\n  api_key="+s)
	}
	for _, text := range wrong {
		c, err := Load(yamlSource(text))
		checkHidden(t, fmt.Sprintf("the error of %q", text), fmt.Sprint(err))
		if err != nil {
			continue
		}
		checkHidden(t, fmt.Sprintf("the faults of %q", text), fmt.Sprint(c.Validate(), c.Warnings()))
		checkHidden(t, fmt.Sprintf("the print of %q", text), printed(t, c)+fmt.Sprintf("%v %+v %#v", c, c, c))
	}
	for _, setting := range Reference() {
		for name, text := range map[string]string{setting.Env: "," + s, setting.EnvFile(): s} {
			if name == "" || !setting.Secret {
				continue
			}
			_, err := Load(Source{Env: env(map[string]string{name: text}), ReadFile: files(nil)})
			if err == nil && !(name == setting.Env && setting.Kind == "secret") {
				t.Errorf("no fault in %s", name)
			}
			checkHidden(t, name, fmt.Sprint(err))
		}
	}
}
