package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"segment-saasquatch/adapter"
)

// TestTableCoversConfig: each field of Config has exactly one setting.
func TestTableCoversConfig(t *testing.T) {
	c := Default()
	seen := map[uintptr]string{}
	for _, s := range settings {
		f := reflect.ValueOf(s.field(c, &c.Connections[0]))
		for f.Kind() == reflect.Struct {
			f = f.Field(0)
		}
		if other, ok := seen[f.Pointer()]; ok {
			t.Errorf("%s and %s share a field", s.Key, other)
		}
		seen[f.Pointer()] = s.Key
	}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[adapter.Secret]() {
			for i := range v.NumField() {
				field := v.Type().Field(i)
				if !field.IsExported() {
					continue
				}
				at := path + "." + field.Name
				if at == "Config.Connections" {
					walk(v.Field(i).Index(0), "Connection")
					continue
				}
				walk(v.Field(i), at)
			}
			return
		}
		if _, ok := seen[v.Addr().Pointer()]; !ok {
			t.Errorf("%s has no setting", path)
		}
	}
	walk(reflect.ValueOf(c).Elem(), "Config")
}

func TestReference(t *testing.T) {
	keys, names := map[string]bool{}, map[string]string{}
	for _, s := range Reference() {
		if keys[s.Key] {
			t.Errorf("%s appears twice", s.Key)
		}
		keys[s.Key] = true
		if s.Help == "" || s.Kind == "" {
			t.Errorf("%s lacks help or kind", s.Key)
		}
		if s.Secret && s.Flag != "" {
			t.Errorf("the secret %s has a flag", s.Key)
		}
		if s.Env == "" {
			if s.Flag != "" || s.EnvFile() != "" {
				t.Errorf("%s has a flag or twin but no variable", s.Key)
			}
			continue
		}
		if !s.Secret && s.Flag != strings.ReplaceAll(strings.ToLower(s.Env), "_", "-") {
			t.Errorf("%s: flag %s and variable %s differ", s.Key, s.Flag, s.Env)
		}
		for _, name := range []string{s.Env, s.EnvFile()} {
			if other, ok := names[name]; ok || name == "PATH" {
				t.Errorf("%s of %s is taken %s", name, s.Key, other)
			}
			names[name] = s.Key
		}
	}
}

func TestRegisterFlags(t *testing.T) {
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	RegisterFlags(set)
	usage := set.FlagUsages()
	for _, want := range []string{"--listen-addr string", "(LISTEN_ADDR)", ":8080", "--insecure ",
		"--body-limit size", "--allow-first-element-signature ", "--saasquatch-tenant-alias string"} {
		if !strings.Contains(usage, want) {
			t.Errorf("usage lacks %q", want)
		}
	}
	for _, s := range Reference() {
		if (s.Flag != "") != (s.Flag != "" && set.Lookup(s.Flag) != nil) {
			t.Errorf("flag %s is missing", s.Flag)
		}
	}
	if set.Lookup("saasquatch-api-key") != nil || set.Lookup("segment-shared-secret") != nil {
		t.Error("a secret has a flag")
	}
}
