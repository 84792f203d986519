package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
)

// valid returns a configuration without faults.
func valid() *Config {
	c := Default()
	c.Connections[0].Segment.SharedSecret = []adapter.Secret{adapter.NewSecret("a-shared-secret")}
	c.Connections[0].SaaSquatch.TenantAlias = "test_abc"
	c.Connections[0].SaaSquatch.APIKey = adapter.NewSecret("TEST_key")
	return c
}

// TestValidate changes one value of a valid configuration. The golden cases contain the full texts.
func TestValidate(t *testing.T) {
	secret := func(text string) []adapter.Secret { return []adapter.Secret{adapter.NewSecret(text)} }
	tests := []struct {
		name   string
		change func(c *Config, conn *Connection)
		keys   string
	}{
		{"nothing", func(*Config, *Connection) {}, ""},
		{"bounds, low", func(c *Config, conn *Connection) {
			c.BodyLimit, c.AnswerBudget, conn.SaaSquatch.Concurrency = 64<<10, 1, 1
		}, ""},
		{"bounds, high", func(c *Config, conn *Connection) {
			c.BodyLimit, c.AnswerBudget = 256<<20, time.Minute
			conn.SaaSquatch.Concurrency, conn.SaaSquatch.AttemptTimeout = 1000, time.Minute
		}, ""},
		{"port 0", func(c *Config, _ *Connection) { c.ListenAddr = "127.0.0.1:0" }, ""},
		{"port 65536", func(c *Config, _ *Connection) { c.ListenAddr = ":65536" }, "listen_addr"},
		{"no credential", func(_ *Config, conn *Connection) { conn.Segment = Segment{} }, "segment.shared_secret"},
		{"no credential, insecure", func(c *Config, conn *Connection) { conn.Segment, c.Insecure = Segment{}, true },
			""},
		{"bearer alone",
			func(_ *Config, conn *Connection) { conn.Segment = Segment{BearerToken: secret("a-bearer-token")} }, ""},
		{"basic alone", func(_ *Config, conn *Connection) { conn.Segment = Segment{BasicKey: secret("a-basic-key")} },
			""},
		{"header alone", func(_ *Config, conn *Connection) {
			conn.Segment = Segment{Header: Header{Name: "X-My-Secret", Value: secret("a-header-value")}}
		}, ""},
		{"an empty secret",
			func(_ *Config, conn *Connection) { conn.Segment.SharedSecret = make([]adapter.Secret, 2) },
			"segment.shared_secret[0] segment.shared_secret[1]"},
		{"secret of another kind of key",
			func(_ *Config, conn *Connection) { conn.SaaSquatch.APIKey = adapter.NewSecret("an-auth-token") }, ""},
		{"live", func(_ *Config, conn *Connection) {
			conn.SaaSquatch.TenantAlias, conn.SaaSquatch.APIKey = "abc", adapter.NewSecret("LIVE_key")
		}, ""},
		{"test key, live alias", func(_ *Config, conn *Connection) { conn.SaaSquatch.TenantAlias = "abc" },
			"saasquatch.api_key"},
		{"live key, test alias",
			func(_ *Config, conn *Connection) { conn.SaaSquatch.APIKey = adapter.NewSecret("LIVE_key") },
			"saasquatch.api_key"},
		{"rate", func(_ *Config, conn *Connection) { conn.SaaSquatch.RateLimit = math.NaN() },
			"saasquatch.rate_limit"},
		{"rate, infinite", func(_ *Config, conn *Connection) { conn.SaaSquatch.RateLimit = math.Inf(1) },
			"saasquatch.rate_limit"},
		{"bulk, low", func(_ *Config, conn *Connection) { conn.SaaSquatch.Bulk = 1 }, ""},
		{"bulk, high", func(_ *Config, conn *Connection) { conn.SaaSquatch.Bulk = 100 }, ""},
		{"bulk of nothing", func(_ *Config, conn *Connection) { conn.SaaSquatch.Bulk = 0 }, "saasquatch.bulk"},
		{"bulk below nothing", func(_ *Config, conn *Connection) { conn.SaaSquatch.Bulk = -1 }, "saasquatch.bulk"},
		{"bulk, too high", func(_ *Config, conn *Connection) { conn.SaaSquatch.Bulk = 101 }, "saasquatch.bulk"},
		{"users before", func(_ *Config, conn *Connection) { conn.EnsureUsers = EnsureBefore }, ""},
		{"users sometimes", func(_ *Config, conn *Connection) { conn.EnsureUsers = "sometimes" }, "users.ensure"},
		{"no connection", func(c *Config, _ *Connection) { c.Connections = nil }, "connections"},
		{"checks of reading run again", func(_ *Config, conn *Connection) {
			conn.Path, conn.SaaSquatch.BaseURL = "x", "https://h/x"
			conn.Segment.Header = Header{Name: "a b", Value: secret("a-header-value")}
		}, "path segment.header.name saasquatch.base_url"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.change(c, &c.Connections[0])
			if got := strings.Join(faultKeys(c.Validate()), " "); got != tt.keys {
				t.Errorf("got faults of %q, want %q: %v", got, tt.keys, c.Validate())
			}
		})
	}
}

func faultsOf(err error) (list []*Fault) {
	joined, _ := err.(interface{ Unwrap() []error })
	if joined == nil {
		return nil
	}
	for _, err := range joined.Unwrap() {
		if fault, ok := errors.AsType[*Fault](err); ok {
			list = append(list, fault)
		}
	}
	return list
}

func faultKeys(err error) (keys []string) {
	for _, fault := range faultsOf(err) {
		keys = append(keys, fault.Key)
	}
	return keys
}

func TestValidateMapping(t *testing.T) {
	c := mustLoad(t, Source{})
	if err := c.ValidateMapping(); err != nil {
		t.Error(err)
	}
	c = mustLoad(t, yamlSource("connections:\n- name: a\n- name: b\n  max_age: -1d\n"+
		"  events: {revenue_scale: 0, keys: {d: '', c: '', b: '', a: ''}}\n"))
	want := `c.yaml:5: connections[1].events.keys: the key of "a" is blank: give it a key or remove the entry
c.yaml:5: connections[1].events.keys: the key of "b" is blank: give it a key or remove the entry
c.yaml:5: connections[1].events.keys: the key of "c" is blank: give it a key or remove the entry
c.yaml:5: connections[1].events.keys: the key of "d" is blank: give it a key or remove the entry
c.yaml:5: connections[1].events.revenue_scale: is "0": use a decimal number above 0, such as 1, 100 or 0.01
c.yaml:4: connections[1].max_age: is negative: use any_age: true to accept events of any age`
	for range 20 {
		err := c.ValidateMapping()
		if fmt.Sprint(err) != want {
			t.Fatalf("got %v\nwant %s", err, want)
		}
	}
}

// TestWhere: faults of Validate name the place of the value in every source.
func TestWhere(t *testing.T) {
	src := yamlSource("log:\n  level: loud\n  format: xml\n")
	src.Env = env(map[string]string{"LOG_FORMAT": "yaml", "SEGMENT_BEARER_TOKEN_FILE": "/s"})
	src.ReadFile = files(map[string]string{"c.yaml": "log:\n  level: loud\n  format: xml\n",
		"/s": "hunter2\nhunter2,a-good-token"})
	src.Flags = flags(t, "--delivery=later", "--saasquatch-tenant-alias=abc")
	err := mustLoad(t, src).Validate()
	want := strings.Join([]string{
		`--delivery: delivery: is "later": write durable or direct`,
		`c.yaml:2: log.level: is "loud": write debug, info, warn or error`,
		`LOG_FORMAT: log.format: is "yaml": write auto, json or console`,
		`SEGMENT_BEARER_TOKEN_FILE: segment.bearer_token[0]: ` +
			`contains a control character or is not UTF-8: write the secret alone, on one line`,
		`saasquatch.api_key: is missing: ` +
			`set SAASQUATCH_API_KEY, SAASQUATCH_API_KEY_FILE or saasquatch.api_key in the configuration file`,
	}, "\n")
	if fmt.Sprint(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	if got := valid().Warnings(); got != nil {
		t.Errorf("got %q", got)
	}
	c := mustLoad(t, yamlSource("insecure: true\ndelivery: direct\nstore: postgres://host/database\n"+
		"admin: {listen_addr: ':9090'}\nanswer_budget: 5s\nsegment: {allow_first_element_signature: true, "+
		"shared_secret: [short, long-enough], bearer_token: éééééé7}\n"))
	want := []string{
		"insecure: is on: requests are accepted from anyone who can reach the listen address",
		"answer_budget: is 5s, but Segment waits 5s: it may send delivered events again",
		"store: is not used: direct delivery stores nothing",
		"admin.listen_addr: is not on the loopback interface: " +
			"anyone who reaches it can read the metrics, and the admin token travels over plain HTTP",
		"segment.allow_first_element_signature: is on: only the first event of a batch is authenticated, " +
			"so anyone who has one signed event can append others to it",
		"segment.shared_secret[0]: is shorter than 8 characters: use a longer one, because short ones can be guessed",
		"segment.bearer_token: is shorter than 8 characters: use a longer one, because short ones can be guessed",
		"segment.bearer_token: contains a character outside ASCII, which Segment does not send in a header: " +
			"use another secret",
	}
	if got := c.Warnings(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	c = mustLoad(t, yamlSource("delivery: direct\nconnections: [{name: a, saasquatch: {bulk: 1}}, "+
		"{name: b, saasquatch: {bulk: 100}}]\n"))
	want = []string{"connections[1].saasquatch.bulk: is 100, but is not used: " +
		"direct delivery sends each event by itself"}
	if got := c.Warnings(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	c.Delivery = DeliveryDurable
	if got := c.Warnings(); got != nil {
		t.Errorf("durable delivery: got %q", got)
	}
	c = mustLoad(t, yamlSource("connections: [{name: a}, {name: b, segment: {basic_key: short}}]\n"))
	if got := c.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "connections[1].segment.basic_key: ") {
		t.Errorf("got %q", got)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, "a")
	_, otherKey := writeCertificate(t, dir, "b")
	notPEM := filepath.Join(dir, "not.pem")
	if err := os.WriteFile(notPEM, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cert, key string
		keys      string
	}{
		{"", "", ""}, {cert, key, ""}, {cert, "", "tls.key_file"}, {"", key, "tls.cert_file"},
		{cert, otherKey, "tls.cert_file"}, {notPEM, key, "tls.cert_file"}, {cert, notPEM, "tls.cert_file"},
		{cert, dir, "tls.key_file"}, {dir + "/absent", key, "tls.cert_file"},
		{dir + "/absent", dir, "tls.cert_file tls.key_file"},
	} {
		c := valid()
		c.TLS = TLS{CertFile: tt.cert, KeyFile: tt.key}
		err := c.Validate()
		if got := strings.Join(faultKeys(err), " "); got != tt.keys {
			t.Errorf("%v: got faults of %q, want %q: %v", c.TLS, got, tt.keys, err)
		}
		checkHidden(t, "the TLS fault", fmt.Sprint(err))
	}
}

func writeCertificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: certDER},
		keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
