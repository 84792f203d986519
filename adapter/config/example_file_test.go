package config

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
)

// TestExample: the example sets everything, to the default except for credentials and tenant. It is valid once its
// placeholders are filled in.
func TestExample(t *testing.T) {
	filled := mustLoad(t, Source{File: testdata + "/example.yaml",
		Env: env(map[string]string{"SEGMENT_SHARED_SECRET": "a-shared-secret", "SAASQUATCH_API_KEY": "TEST_key"})})
	if err := filled.Validate(); err != nil {
		t.Error(err)
	}
	c := mustLoad(t, Source{File: testdata + "/example.yaml"})
	if got := strings.Join(faultKeys(c.Validate()), " "); got != "segment.shared_secret saasquatch.api_key" {
		t.Errorf("faults of %q", got)
	}
	if warnings := c.Warnings(); len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	content, err := os.ReadFile(testdata + "/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		if s.listOnly {
			continue
		}
		if c.originOf(s.Key) == originDefault {
			t.Errorf("%s is not in the example", s.Key)
		}
		if !strings.Contains(string(content), s.Env) {
			t.Errorf("%s is not in the example", s.Env)
		}
	}
	want := Default()
	conn := &want.Connections[0]
	conn.Segment.SharedSecret = []adapter.Secret{adapter.NewSecret("change-me-shared-secret")}
	conn.SaaSquatch.TenantAlias = "test_abc"
	conn.SaaSquatch.APIKey = adapter.NewSecret("TEST_change_me")
	if got := comparable(c); !reflect.DeepEqual(got, comparable(want)) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	got := reveal(c.Connections[0].Segment.SharedSecret)
	if !reflect.DeepEqual(got, []string{"change-me-shared-secret"}) {
		t.Errorf("shared_secret = %q", got)
	}
}

func TestConnectionsExample(t *testing.T) {
	path := testdata + "/connections.yaml"
	c := mustLoad(t, Source{File: path})
	want := "connections[0].segment.shared_secret[0] connections[0].segment.shared_secret[1] " +
		"connections[0].saasquatch.api_key " +
		"connections[1].segment.bearer_token connections[1].segment.header.value connections[1].saasquatch.api_key"
	if got := strings.Join(faultKeys(c.Validate()), " "); got != want {
		t.Errorf("faults of %q, want %q", got, want)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("change-me-", "5f0c9d2e7a41b863-", "change_me",
		"5f0c9d2e7a41b863").Replace(string(content))
	if err := mustLoad(t, yamlSource(filled)).Validate(); err != nil {
		t.Error(err)
	}
	if len(c.Connections) != 2 {
		t.Fatalf("%d connections", len(c.Connections))
	}
	live, test := c.Connections[0], c.Connections[1]
	if live.Name != "live" || live.Path != "/segment/live" || live.SaaSquatch.TenantAlias != "abc" ||
		live.SaaSquatch.RateLimit != 50 || live.SaaSquatch.Concurrency != 64 || live.Mapping.RevenueScale != "0.01" ||
		len(live.Segment.SharedSecret) != 2 {
		t.Errorf("live = %+v", live)
	}
	if test.Segment.Header.Name != "X-My-Secret" || len(test.Segment.Header.Value) != 1 || !test.Mapping.AnyAge ||
		!reflect.DeepEqual(test.Mapping.Keys, map[string]string{"Signed Up": "signup"}) ||
		!reflect.DeepEqual(test.Mapping.AccountID, []string{"userId"}) {
		t.Errorf("test = %+v", test)
	}
}
