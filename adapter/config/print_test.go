package config

import (
	"reflect"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
)

func printed(t *testing.T, c *Config) string {
	t.Helper()
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// comparable removes the parts that printing changes: origins, and the texts of secrets.
func comparable(c *Config) *Config {
	d := *c
	d.origins = nil
	d.Store = adapter.NewSecret(c.Store.String())
	d.Admin.Token = masks(c.Admin.Token)
	d.several = c.listForm()
	d.Connections = append([]Connection(nil), c.Connections...)
	for i := range d.Connections {
		conn := &d.Connections[i]
		conn.SaaSquatch.APIKey = adapter.NewSecret(conn.SaaSquatch.APIKey.String())
		for _, list := range []*[]adapter.Secret{&conn.Segment.SharedSecret, &conn.Segment.BearerToken,
			&conn.Segment.BasicKey, &conn.Segment.Header.Value} {
			*list = masks(*list)
		}
		for _, list := range []*[]string{&conn.Mapping.Only, &conn.Mapping.Except, &conn.Mapping.AccountID} {
			if len(*list) == 0 {
				*list = nil
			}
		}
	}
	return &d
}

// masks returns secrets with the text that the given ones print as.
func masks(secrets []adapter.Secret) []adapter.Secret {
	masked := make([]adapter.Secret, len(secrets))
	for i, s := range secrets {
		masked[i] = adapter.NewSecret(s.String())
	}
	return masked
}

func checkRoundTrip(t *testing.T, c *Config) {
	t.Helper()
	text := printed(t, c)
	again, err := Load(yamlSource(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if got, want := comparable(again), comparable(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v\nfrom\n%s", got, want, text)
	}
}

func TestPrintRoundTrip(t *testing.T) {
	checkRoundTrip(t, Default())
	checkRoundTrip(t, mustLoad(t, Source{File: testdata + "/example.yaml"}))
	checkRoundTrip(t, mustLoad(t, Source{File: testdata + "/connections.yaml"}))
	c := Default()
	c.Connections[0].Name = "other"
	checkRoundTrip(t, c)
	c.ListenAddr, c.DataDir, c.BodyLimit = "null", "- #: {", 1234567
	c.Connections[0].Mapping.InvalidValues = "null"
	c.Connections[0].Mapping.Only = []string{"true", "1", " x ", "a\nb", "日本\u2028", "*a", "<<"}
	c.Connections[0].Mapping.Keys = map[string]string{"<<": "~", "null": "0x1", "": ""}
	c.Connections[0].SaaSquatch.RateLimit = 1e21
	checkRoundTrip(t, c)
}

func TestPrintOrigins(t *testing.T) {
	src := yamlSource("listen_addr: :1\n\nsegment:\n  shared_secret: hunter2hunter2\nevents: {keys: {a: b}}\n")
	src.File = "c.yaml\n\x00evil"
	src.ReadFile = func(string) ([]byte, error) {
		return []byte("listen_addr: :1\n\nsegment:\n  shared_secret: hunter2hunter2\nevents: {keys: {a: b}}\n"), nil
	}
	src.Env = env(map[string]string{"DATA_DIR": "/data"})
	src.Flags = flags(t, "--insecure")
	text := printed(t, mustLoad(t, src))
	for _, want := range []string{
		"listen_addr: :1 # c.yaml??evil:1\n", "shared_secret: ['********'] # c.yaml??evil:4\n",
		"data_dir: /data # DATA_DIR\n",
		"insecure: true # --insecure\n", "keys: # c.yaml??evil:5\n    a: b\n", "delivery: durable # default\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errWrite }

type writeError struct{}

func (writeError) Error() string { return "disk full" }

var errWrite error = writeError{}

func TestPrintFailure(t *testing.T) {
	if err := Default().Print(failingWriter{}); err == nil {
		t.Error("no error")
	}
}
