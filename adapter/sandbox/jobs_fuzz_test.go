package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"segment-saasquatch/adapter/sandbox"
)

// importOne imports a line between two valid ones and returns the job.
func importOne(t *testing.T, s *sandbox.Server, kind, valid string, line []byte) job {
	t.Helper()
	s.Reset()
	// A valid line has no line feed.
	line = bytes.ReplaceAll(line, []byte("\n"), []byte(" "))
	ref := put(t, s, valid+"\n"+string(line)+"\n"+valid)
	got := poll(t, s,
		create(t, s, map[string]any{"i": map[string]any{"type": kind, "fileRef": ref, "outputFormat": "JSONL"}}))
	if got.Status != "COMPLETED" || got.Stats.RecordsProcessed != 3 || got.Stats.Errors > 1 {
		t.Fatalf("job: %+v\nline %q", got, line)
	}
	faults := readLines[recordError](t, fetch(s, *got.DownloadErrorURL))
	if len(faults) != got.Stats.Errors || len(faults) == 1 && faults[0].RecordNumber != 2 {
		t.Fatalf("errors: %+v", faults)
	}
	if results := readLines[json.RawMessage](t, fetch(s, *got.DownloadURL)); len(results) != 3-len(faults) {
		t.Fatalf("results: %s", results)
	}
	return got
}

// FuzzEventLine compares the sandbox's verdict on a line of an import with that of a second, slow implementation.
func FuzzEventLine(f *testing.F) {
	for _, l := range eventLines {
		if len(l.line) < 10_000 {
			f.Add([]byte(l.line))
		}
	}
	s := newServer(f, open())
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) > 60_000 {
			t.Skip("a scanner of the test takes no more")
		}
		got := importOne(t, s, "MUTATION/USER_EVENT", `{"userId":"u1","accountId":"a1","event":{"key":"k"}}`, line)
		if valid := got.Stats.Errors == 0; valid != acceptableLine(line) {
			t.Fatalf("valid: %v\nline %q\n%s", valid, line, fetch(s, *got.DownloadErrorURL).Body)
		}
		if n := len(s.Events()); n != 3-got.Stats.Errors {
			t.Fatalf("%d events of %+v", n, got)
		}
	})
}

func acceptableLine(line []byte) bool {
	var v any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if !strictJSON(line) || d.Decode(&v) != nil {
		return false
	}
	o, ok := v.(map[string]any)
	if !ok || !hasOnly(o, "userId", "accountId", "idempotencyKey", "event") {
		return false
	}
	for _, name := range []string{"userId", "accountId"} {
		if id, ok := o[name].(string); !ok || strings.TrimSpace(id) == "" {
			return false
		}
	}
	if key, ok := o["idempotencyKey"]; ok {
		text, ok := key.(string)
		if !ok || !regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}\z`).MatchString(text) {
			return false
		}
	}
	event, ok := o["event"].(map[string]any)
	return ok && hasOnly(event, "key", "fields", "dateTriggered") && acceptableEvent(event)
}

func hasOnly(o map[string]any, names ...string) bool {
	known := 0
	for _, name := range names {
		if _, ok := o[name]; ok {
			known++
		}
	}
	return known == len(o)
}

// FuzzUserLine checks that a line of users is stored whole or not at all.
func FuzzUserLine(f *testing.F) {
	for _, line := range []string{
		`{"id":"u2","accountId":"a1","firstName":"Ann","customFields":{"plan":"pro","timeZone":"x","gone":null},` +
			`"imageUrl":null}`,
		`{"id":"u2","accountId":"a1","referredBy":{"code":"c","isConverted":"true"},"referralCodes":{"p":"c"},` +
			`"locale":"en_US"}`,
		`{"id":"u2","accountId":"a1","email":"x","dateCreated":1e3}`, `{`, ``,
	} {
		f.Add([]byte(line))
	}
	s := newServer(f, open())
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) > 60_000 {
			t.Skip("a scanner of the test takes no more")
		}
		got := importOne(t, s, "MUTATION/USER", `{"id":"u1","accountId":"a1"}`, line)
		if users := s.Stats().Users; users > 2 || users == 2 && got.Stats.Errors > 0 {
			t.Fatalf("%d users of %+v", users, got)
		}
		if w := send(s, "GET", userU1, ""); w.Code != 200 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}

// FuzzGraphQL checks that every body gets either a 400 or the answer of a GraphQL server.
func FuzzGraphQL(f *testing.F) {
	for _, text := range []string{
		`{tenant{tenantAlias isLiveMode rateLimitMultiplier}}`, `{`, `{job(id:1){id}}`,
		`query($id:ID!){job(id:$id){id stats{errors}}}`,
		`mutation{createJob(jobInput:{type:"MUTATION/USER",fileRef:"x",params:{a:[1,1.5,true,null,E,$v]}}){id}}`,
		`{__schema{types{name}}}`,
		`query($i:JobInput!){validateJobCreation(jobInput:$i){errors}}`,
		`{...a} fragment a on Query{...b} fragment b on Query{...a}`,
		"{userEventKeys{data count} customFields(limit:1){data{key name}} " +
			"segments(offset:1){data{key status participantsCount __typename} totalCount}}",
		`mutation{createJob(jobInput:{type:"MUTATION/USER",fileRef:"x",params:{segments:[1,E,{a:1}]}}){id}}`,
		`subscription{x}`, createJob, pollJob,
	} {
		f.Add(fmt.Appendf(nil, `{"query":%q}`, text))
		f.Add(fmt.Appendf(nil,
			`{"query":%q,"operationName":"x","variables":{"id":"x","i":{"type":"MUTATION/USER",`+
				`"params":{"importEvaluationOptions":{"programs":1e9}}},"v":[{}]}}`, text))
	}
	s := newServer(f, open())
	f.Fuzz(func(t *testing.T, body []byte) {
		w := send(s, "POST", graphQLPath, string(body))
		var answer struct{ Data, Errors json.RawMessage }
		switch {
		case !json.Valid(w.Body.Bytes()):
			t.Fatalf("not valid JSON: %s", w.Body)
		case w.Code == 400:
		case w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &answer) != nil || answer.Data == nil &&
			answer.Errors == nil:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		case bytes.Contains(answer.Errors, []byte("panic")) && !bytes.Contains(body, []byte("panic")):
			t.Fatalf("a resolver panics: %s\nbody %q", answer.Errors, body)
		}
	})
}
