package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// goodCredential returns a credential with neither fault nor warning.
func goodCredential(key string) string {
	switch key {
	case apiKeyKey:
		return "TEST_hunter2x5f0c9d2e7a41b863"
	case storeKey:
		return "postgres://user:hunter2hunter2@host/database"
	}
	return "hunter2-5f0c9d2e7a41b863"
}

// The ways in which a spoilt credential is reported.
const (
	isFault = "fault"
	warned  = "warning"
	isValid = "valid"
)

// spoiling is one way to spoil a credential.
type spoiling struct {
	name  string
	spoil func(good string, s Setting) string
	want  string
	// except has the settings with another report.
	except map[string]string
	// in, if set, decides by the source: env, file, yaml or list.
	in func(way string, s Setting) string
}

// only makes a spoiling that is a fault of some settings and valid in the others.
func only(want string, keys ...string) map[string]string {
	except := map[string]string{}
	for _, s := range Reference() {
		if s.Secret {
			except[s.Key] = isValid
		}
	}
	except[storeKey] = isFault // no URL
	for _, key := range keys {
		except[key] = want
	}
	return except
}

// quotedIs: a bearer token of the admin API and a URL cannot contain quotation marks.
var quotedIs = map[string]string{adminTokenKey: isFault, storeKey: isFault}

func around(before, after string) func(string, Setting) string {
	return func(good string, _ Setting) string { return before + good + after }
}

func instead(text string) func(string, Setting) string {
	return func(string, Setting) string { return text }
}

// trimmed: variables and files are split at commas and trimmed if the setting takes several values.
func trimmed(way string, s Setting) string {
	if s.Kind == kindSecrets.name && (way == "env" || way == "file") {
		return isValid
	}
	return isFault
}

func spoilings() []spoiling {
	list := []spoiling{
		{name: "nothing", spoil: around("", ""), want: isValid},
		{name: "byte order mark", spoil: around("\ufeff", ""), want: isFault},
		{name: "space in front", spoil: around(" ", ""), in: trimmed},
		{name: "space behind", spoil: around("", " "), in: trimmed},
		{name: "two line breaks behind", spoil: around("", "\n\n"), in: trimmed},
		{name: "CRLF twice behind", spoil: around("", "\r\n\r\n"), in: trimmed},
		{name: "tab behind", spoil: around("", "\t"), in: trimmed},
		{name: "blank", spoil: instead("  "), want: isFault},
		{name: "second line", spoil: around("", "\nmore"), want: isFault},
		{name: "second line of Windows", spoil: around("", "\r\nmore"), want: isFault},
		{name: "NUL", spoil: around("", "\x00more"), want: isFault},
		{name: "escape", spoil: around("", "\x1b[0m"), want: isFault},
		{name: "zero-width space", spoil: around("", "\u200bmore"), want: isFault},
		{name: "line separator", spoil: around("", "\u2028more"), want: isFault},
		{name: "space inside", spoil: around("", " more"), want: warned,
			except: map[string]string{adminTokenKey: isFault, apiKeyKey: isFault, storeKey: isFault}},
		{name: "no-break space inside", spoil: around("", "\u00a0more"), want: warned,
			except: map[string]string{adminTokenKey: isFault, apiKeyKey: isFault, storeKey: isFault}},
		{name: "comment behind", spoil: around("", " # live"), want: warned,
			except: map[string]string{adminTokenKey: isFault, apiKeyKey: isFault, storeKey: isFault}},
		{name: "quote in front", spoil: around(`"`, ""), want: warned, except: quotedIs},
		{name: "quote behind", spoil: around("", `'`), want: warned, except: map[string]string{adminTokenKey: isFault,
			storeKey: isValid}},
		{name: "bearer", spoil: around("Bearer ", ""), want: isFault,
			except: map[string]string{sharedSecretKey: warned, headerValueKey: warned}},
		{name: "bearer in lower case", spoil: around("bearer ", ""), want: isFault,
			except: map[string]string{sharedSecretKey: warned, headerValueKey: warned}},
		{name: "bearer and a colon", spoil: around("Bearer:", ""), except: only(isFault, bearerTokenKey, basicKeyKey,
			adminTokenKey, apiKeyKey)},
		{name: "bearer alone", spoil: instead("Bearer"), want: isFault,
			except: map[string]string{sharedSecretKey: warned, headerValueKey: warned}}, // short
		{name: "basic", spoil: around("Basic ", ""), want: isFault, except: map[string]string{sharedSecretKey: warned,
			headerValueKey: warned}},
		{name: "header and scheme", spoil: around("Authorization: Bearer ", ""), want: isFault,
			except: map[string]string{headerValueKey: warned}},
		{name: "header alone", spoil: around("authorization:", ""), want: isFault,
			except: map[string]string{headerValueKey: isValid}},
		{name: "its own header", spoil: around("X-My-Secret: ", ""), want: warned,
			except: map[string]string{headerValueKey: isFault, basicKeyKey: isFault, adminTokenKey: isFault,
				apiKeyKey: isFault, storeKey: isFault}},
		{name: "its variable", spoil: func(good string, s Setting) string { return s.Env + "=" + good },
			want: isFault},
		{name: "its variable, exported", want: isFault,
			spoil: func(good string, s Setting) string { return "export " + s.Env + "=" + good }},
		{name: "its key", want: isFault,
			spoil: func(good string, s Setting) string { return lastWord(s.Key) + ": " + good }},
		{name: "Docker's file", spoil: instead("/run/secrets/hunter2"), want: isFault},
		{name: "file URL", spoil: instead("file:///etc/hunter2"), want: isFault},
		{name: "JSON object", spoil: around(`{"value":"`, `"}`), want: isFault},
		{name: "JSON list", spoil: around(`["`, `"]`), want: isFault},
		{name: "JSON list of two", spoil: around(`["first-of-two-secrets","`, `"]`), want: isFault},
		{name: "comma", spoil: around("one-of-sixteen-characters,", ""), in: func(way string, s Setting) string {
			switch {
			case s.Key == storeKey:
				return isFault
			case s.Key == apiKeyKey, s.Key == adminTokenKey && way == "env", s.Key == adminTokenKey && way == "file":
				return isValid
			case s.Key == adminTokenKey:
				return isFault
			case way == "yaml":
				return warned
			}
			return isValid
		}},
		{name: "user name of curl", spoil: around(":", ""),
			except: only(isFault, apiKeyKey, basicKeyKey, adminTokenKey)},
		{name: "AccountSID", spoil: around("AC0123456789:", ""), except: only(isFault, apiKeyKey, basicKeyKey,
			adminTokenKey)},
		{name: "line break in two characters", spoil: around("", `\n`), want: warned,
			except: map[string]string{adminTokenKey: isFault, storeKey: isValid}},
		{name: "é", spoil: around("é", ""), except: func() map[string]string {
			except := only(warned, bearerTokenKey, headerValueKey)
			except[adminTokenKey] = isFault
			return except
		}()},
		{name: "variable in lower case", spoil: instead("$hunter2_hunter2_hunter2"), want: warned,
			except: map[string]string{apiKeyKey: isFault, adminTokenKey: isFault, storeKey: isFault}},
		{name: "variable inside", spoil: around("", "${SECRET}"), want: isFault},
		{name: "template inside", spoil: around("", "{{ .Values.hunter2 }}"), want: isFault},
		{name: "mask of this program", spoil: instead("********"), want: isFault},
	}
	for _, pair := range quotePairs {
		runes := []rune(pair)
		list = append(list, spoiling{name: "quotes " + pair, spoil: around(string(runes[0]), string(runes[1])),
			want: warned, except: quotedIs})
	}
	for _, reference := range []string{
		"${HUNTER2}", "${hunter2}", "${HUNTER2:-hunter2}", "${HUNTER2:?is unset}", "$HUNTER", "$(cat /run/hunter2)",
		"$(HUNTER2)", "%HUNTER2%", "{{ .Values.hunter2 }}", "{{hunter2}}",
		"${{ secrets.HUNTER2 }}", "#{HUNTER2}#", "#{hunter2}", "<%= ENV['HUNTER2'] %>", "__HUNTER2__",
		"@Microsoft.KeyVault(SecretUri=https://hunter2)", "op://hunter2/item/field",
		"vault://hunter2", "ref+awssecrets://hunter2", "arn:aws:secretsmanager:eu-west-1:1:secret:hunter2",
		"projects/1/secrets/hunter2/versions/1", "ENC[AES256_GCM;data:hunter2]",
	} {
		list = append(list, spoiling{name: reference, spoil: instead(reference), want: isFault})
	}
	for _, placeholder := range []string{
		"<your secret>", "<hunter2 goes-here>", "<no value>", "[your-secret]", "changeme", "CHANGE-ME",
		"change_me_please-hunter2", "replace me", "your-shared-secret", "YOUR_API_KEY", "yoursecrethere",
		"TODO", "tbd", "FIXME", "placeholder", "REDACTED", "undefined", "null", "None", "nil", "xxxxxxxxxxxxxxxxxxxx",
		"…",
		"hunter2…863", "hunt...", "••••••••863", "****-hunter2",
	} {
		list = append(list, spoiling{name: placeholder, spoil: instead(placeholder), want: isFault})
	}
	return list
}

// credentialWays are the ways in which a configuration gets a credential. Each returns the source and the place that
// its faults name.
var credentialWays = []struct {
	name  string
	write func(t *testing.T, s Setting, text string) (src Source, where string)
}{
	{"env", func(_ *testing.T, s Setting, text string) (Source, string) {
		return Source{Env: env(map[string]string{s.Env: text})}, s.Env
	}},
	{"file", func(_ *testing.T, s Setting, text string) (Source, string) {
		return Source{Env: env(map[string]string{s.EnvFile(): "/run/value"}),
			ReadFile: files(map[string]string{"/run/value": text + "\n"})}, s.EnvFile()
	}},
	{"yaml", func(t *testing.T, s Setting, text string) (Source, string) {
		return yamlSource(nested(s.Key, yamlText(t, text))), "c.yaml:1"
	}},
	{"list", func(t *testing.T, s Setting, text string) (Source, string) {
		return yamlSource(nested(s.Key, "["+yamlText(t, text)+", "+yamlText(t, "another-good-one-of-sixteen")+"]")),
			"c.yaml:1"
	}},
}

// nested writes a key and its value on one line.
func nested(key, value string) string {
	parts := strings.Split(key, ".")
	return strings.Join(parts, ": {") + ": " + value + strings.Repeat("}", len(parts)-1)
}

// yamlText quotes a text as JSON does, which YAML reads.
func yamlText(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}

// TestSpoiltCredentials: every credential, spoilt and read in every way, is a fault or a warning. It names key and
// place and shows nothing of the credential.
func TestSpoiltCredentials(t *testing.T) {
	for _, s := range Reference() {
		if !s.Secret {
			continue
		}
		if s.Flag != "" {
			t.Errorf("the credential %s has a flag", s.Key)
		}
		for _, spoilt := range spoilings() {
			for _, way := range credentialWays {
				if way.name == "list" && s.Kind != kindSecrets.name {
					continue
				}
				want := spoilt.want
				if spoilt.in != nil {
					want = spoilt.in(way.name, s)
				}
				if except, ok := spoilt.except[s.Key]; ok {
					want = except
				}
				t.Run(s.Key+"/"+way.name+"/"+spoilt.name, func(t *testing.T) {
					src, where := way.write(t, s, spoilt.spoil(goodCredential(s.Key), s))
					checkSpoilt(t, s, src, where, want)
				})
			}
		}
	}
}

// checkSpoilt loads a configuration with a single setting.
func checkSpoilt(t *testing.T, s Setting, src Source, where, want string) {
	t.Helper()
	got, text := isValid, ""
	c, err := Load(src)
	if err == nil {
		c.Connections[0].Segment.Header.Name = "X-My-Secret"
		err = c.Validate()
		isOther := func(warning string) bool { return !strings.HasPrefix(warning, s.Key) }
		warnings := slices.DeleteFunc(c.Warnings(), isOther)
		if len(warnings) > 0 {
			got = warned
		}
		checkHidden(t, "the print", printed(t, c))
		text = strings.Join(warnings, "\n")
	}
	for _, fault := range faultsOf(err) {
		if cutIndex(fault.Key) == s.Key {
			got = isFault
			if fault.Where != where {
				t.Errorf("the fault %q is not at %s", fault, where)
			}
			if !strings.Contains(fault.Problem, ": ") {
				t.Errorf("the fault %q has no remedy", fault)
			}
		}
	}
	text += fmt.Sprint(err)
	if got != want {
		t.Errorf("is %s, want %s:\n%s", got, want, text)
	}
	for _, shown := range []string{"hunter2", "HUNTER2", "863"} {
		if strings.Contains(text, shown) {
			t.Errorf("a part of the credential shows in\n%s", text)
		}
	}
}

// TestUTF16File: the fault of a value file in UTF-16, with or without a byte order mark, names the encoding.
func TestUTF16File(t *testing.T) {
	for name, content := range map[string]string{
		"little-endian": "\xff\xfeh\x00i\x00\n\x00", "big-endian": "\xfe\xff\x00h\x00i",
		"without a mark": "h\x00i\x00",
		"UTF-32":         "\xff\xfe\x00\x00h\x00\x00\x00",
	} {
		for _, s := range Reference() {
			if s.Env == "" {
				continue
			}
			_, err := Load(Source{Env: env(map[string]string{s.EnvFile(): "/v"}),
				ReadFile: files(map[string]string{"/v": content})})
			if list := faultsOf(err); len(list) != 1 || list[0].Key != s.Key || list[0].Where != s.EnvFile() ||
				!strings.Contains(list[0].Problem, "UTF-16") {
				t.Errorf("%s %s: %v", s.Key, name, err)
			}
		}
	}
}

// FuzzCredential: no text in the place of a credential causes a panic or shows.
func FuzzCredential(f *testing.F) {
	for _, spoilt := range spoilings() {
		f.Add(spoilt.spoil("", Setting{Key: "segment.shared_secret", Env: "SEGMENT_SHARED_SECRET"}), "")
		f.Add("", spoilt.spoil("", Setting{Key: "admin.token", Env: "ADMIN_TOKEN"}))
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		text := before + "hunter2" + after
		for _, way := range []string{"", "_FILE"} {
			variables := map[string]string{}
			for _, s := range Reference() {
				switch {
				case s.Secret && way == "":
					variables[s.Env] = text
				case s.Secret:
					variables[s.EnvFile()] = "/run/value"
				}
			}
			c, err := Load(Source{Env: env(variables), ReadFile: files(map[string]string{"/run/value": text})})
			shown := fmt.Sprint(err)
			if err == nil {
				shown = fmt.Sprint(c.Validate(), c.Warnings()) + printed(t, c)
			}
			checkHidden(t, "faults, warnings and print", shown)
		}
	})
}
