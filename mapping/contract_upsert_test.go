package mapping_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/sandbox"
	"segment-saasquatch/mapping"
)

// judgeUpsert sends a user upsert to a sandbox.
func judgeUpsert(t *testing.T, server *sandbox.Server, upsert *mapping.UserUpsert) (status int, answer string) {
	t.Helper()
	request := httptest.NewRequest(http.MethodPut, "/", bytes.NewReader(upsert.Body))
	request.URL.Path = "/api/v1/t/open/account/" + upsert.AccountID + "/user/" + upsert.UserID
	request.URL.RawPath = "/api/v1/t/open/account/" + escapeAll(upsert.AccountID) + "/user/" + escapeAll(upsert.UserID)
	request.Header.Set("Content-Type", "application/json")
	request.SetBasicAuth("", "key")
	w := httptest.NewRecorder()
	server.ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

// TestMappedUpsertsPass sends the upserts that the mapping makes of every golden event, including those for track
// calls.
func TestMappedUpsertsPass(t *testing.T) {
	server := newJudge(t)
	inputs, err := filepath.Glob(filepath.Join("..", "testdata", "mapping", "*", "input.json"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden cases (%v)", err)
	}
	passed := 0
	for _, input := range inputs {
		rules := mapping.DefaultRules()
		text, err := os.ReadFile(filepath.Join(filepath.Dir(input), "rules.json"))
		if err == nil {
			err = json.Unmarshal(text, &rules)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		mapper, err := mapping.New(rules)
		if err != nil {
			t.Fatal(err)
		}
		events, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		for event := range bytes.Lines(events) {
			result := mapper.Map(event, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
			upserts := result.Upserts
			if upsert, ok := result.UserUpsert(); ok {
				upserts = []mapping.UserUpsert{upsert}
			}
			for i := range upserts {
				status, answer := judgeUpsert(t, server, &upserts[i])
				// SaaSquatch does not publish the form of a referral code, so the mapping keeps every one. A refused
				// one is dropped later.
				if status == http.StatusBadRequest && strings.Contains(answer, "RS034") {
					continue
				}
				if status != http.StatusOK {
					t.Errorf("%s: %d %s\n%s", filepath.Base(filepath.Dir(input)), status, answer, upserts[i].Body)
				}
				passed++
			}
		}
	}
	t.Logf("%d upserts", passed)
}
