package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestSandboxBulkFlags sends bulk calls to sandboxes with the flags for them.
func TestSandboxBulkFlags(t *testing.T) {
	t.Parallel()
	input := func(user string) string {
		return fmt.Sprintf(`{userId:%q,accountId:"a",idempotencyKey:"key-of-%s",events:[{key:"k"}]}`, user, user)
	}
	three := input("u1") + input("u2") + input("u3")
	for _, test := range []struct {
		flags  []string
		inputs string
		want   string
	}{
		{nil, three, `{"data":{"logUserEvents":[{"userId":"u1"},{"userId":"u2"},{"userId":"u3"}]}}`},
		{nil, input("u1") + input("u1"), `{"data":{"logUserEvents":[{"userId":"u1"},{"statusCode":409}]}}`},
		{[]string{"--fail", "100%:503", "--bulk-items"}, three,
			`{"data":{"logUserEvents":[{"statusCode":503},{"statusCode":503},{"statusCode":503}]}}`},
		{[]string{"--bulk-list", "0%:short", "--bulk-list", "missing"}, three, `{"data":{"logUserEvents":null}}`},
		{[]string{"--bulk-limit", "2"}, three, `"statusCode":400`},
	} {
		base := startSandbox(t, test.flags...)
		body, err := json.Marshal(map[string]string{"query": `mutation { logUserEvents(userEventInputs: [` +
			test.inputs + `]) { ... on UserEventResult { userId } ... on ApiError { statusCode } } }`})
		if err != nil {
			t.Fatal(err)
		}
		got := call(t, "POST", base+"/api/v1/"+sandboxTenant+"/graphql", "application/json", string(body))
		if !strings.Contains(got, test.want) {
			t.Errorf("%q: %s\nwant %s", test.flags, got, test.want)
		}
	}
}

func TestSandboxReportsFaultsOfBulkFlags(t *testing.T) {
	f := sandboxFlags{users: "any", recordBase: 1, resetRate: "0%", timeoutRate: "0%", abortJob: "0",
		bulkLists: []string{"short", "sideways"}, bulkBytes: -1}
	_, err := f.options()
	for _, want := range []string{
		`--bulk-list: parse change of lists "sideways"`, "--bulk-limit: 0", "--bulk-bytes: -1",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not speak of %q: %v", want, err)
		}
	}
}
