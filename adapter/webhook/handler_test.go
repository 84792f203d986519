package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

var update = flag.Bool("update", false, "write the golden files anew")

// acceptFunc makes a function an adapter.Acceptor.
type acceptFunc func(ctx context.Context, events [][]byte) (adapter.Receipt, error)

func (f acceptFunc) Accept(ctx context.Context, events [][]byte) (adapter.Receipt, error) {
	return f(ctx, events)
}

// mapAndDeliver is direct delivery to a SaaSquatch that takes everything.
func mapAndDeliver(t testing.TB) adapter.Acceptor {
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	sender := deliverytest.Always(adapter.Attempt{Outcome: adapter.Delivered, Status: 200})
	sender.KeepNothing = true
	return delivery.NewDirect(mapper, delivery.NewRetrier(sender, delivery.NewBreaker(delivery.BreakerOptions{}),
		delivery.RetrierOptions{}), delivery.DirectOptions{})
}

func newHandler(t testing.TB, acceptor adapter.Acceptor, opts Options) *Handler {
	t.Helper()
	h, err := New([]Connection{{Name: "test", Path: "/segment", Acceptor: acceptor,
		Credentials: Credentials{Insecure: true}}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func serve(h http.Handler, method, target string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func nested(depth int) string {
	return `{"type":"track","userId":"u-1","event":"e","messageId":"12345678","context":` + strings.Repeat("[",
		depth-1) + strings.Repeat("]", depth-1) + `}`
}

func good(n int) string {
	return fmt.Sprintf(`{"type":"track","userId":"u-%d","event":"Signed Up","messageId":"message-%d",`+
		`"timestamp":"2026-10-31T12:00:00Z"}`, n, n)
}

func many(count int, bad string) string {
	events := make([]string, count)
	for i := range events {
		events[i] = good(i)
	}
	events[count/2] = bad
	return "[" + strings.Join(events, ",") + "]"
}

// TestBadInput compares the answers to bad input with testdata/webhook/NAME/want.json.
func TestBadInput(t *testing.T) {
	const limit = 10 << 20
	exact := `{"type":"page","pad":"` + strings.Repeat("x", limit-len(`{"type":"page","pad":""}`)) + `"}`
	cases := map[string]struct {
		body     string
		encoding string
	}{
		"garbage":       {body: "garbage"},
		"empty":         {body: ""},
		"null":          {body: "null"},
		"empty_array":   {body: "[]"},
		"array_of_null": {body: "[null]"},
		"truncated":     {body: `[{"type":"track","userId":"u-1"`},
		"nested_64":     {body: nested(64)},
		"nested_65":     {body: nested(65)},
		"nested_100000": {body: "[" + good(1) + `,{"type":"track","context":` + strings.Repeat("[",
			100_000) + strings.Repeat("]", 100_000) + "}]"},
		"at_the_limit":        {body: exact},
		"over_the_limit":      {body: exact + " "},
		"gzip":                {body: gzipped(good(1)), encoding: "gzip"},
		"gzip_of_two_members": {body: gzipped("["+good(1)+",") + gzipped(good(2)+"]"), encoding: "gzip"},
		"gzip_half":           {body: gzipped(many(100, good(0)))[:500], encoding: "gzip"},
		"gzip_bomb":           {body: gzipped(strings.Repeat(" ", 50<<20) + "{}"), encoding: "gzip"},
		"gzip_at_the_limit":   {body: gzipped(exact), encoding: "gzip"},
		"gzip_and_garbage":    {body: gzipped(good(1)) + "garbage", encoding: "gzip"},
		"not_gzip":            {body: good(1), encoding: "gzip"},
		"unknown_encoding":    {body: good(1), encoding: "br"},
		"duplicate_names":     {body: "[" + good(1) + `,{"type":"track","type":"track"}]`},
		"not_utf8":            {body: strings.ReplaceAll(good(1), "u-1", "u-\xff")},
		"one_bad_of_1000":     {body: many(1000, `{"type":"track","userId":"..","event":"x"}`)},
		"one_broken_of_1000":  {body: many(1000, `{"type" "track"}`)},
		"every_reason":        {body: everyReason()},
		"tracking_batch": {body: `{"batch":[` + good(1) +
			`],"writeKey":"k","sentAt":"2026-10-31T12:00:00Z"}`},
		"tracking_batch_empty":    {body: `{"batch":[]}`},
		"tracking_batch_typed":    {body: `{"batch":[],"type":"page"}`},
		"tracking_batch_in_array": {body: `[{"batch":[` + good(1) + `]},` + good(2) + `,{"batch":"no array"}]`},
		"form_encoded":            {body: `type=track&userId=u-1&event=Signed+Up&properties=%5Bobject+Object%5D`},
		"form_encoded_in_array": {body: `[{"body":"type=track&userId=u-1"},` + good(2) +
			`,{"body":"text","to":"a friend"}]`},
		"no_form":              {body: `some text = other text`},
		"gzip_and_identity":    {body: gzipped(good(1)), encoding: "gzip, identity"},
		"gzip_and_unknown":     {body: gzipped(good(1)), encoding: "gzip, br"},
		"extensible_and_plain": {body: `[{"json":` + good(1) + `},` + good(2) + `]`},
		"hostile_texts": {body: `[` +
			strings.TrimSuffix(strings.Repeat(`{"type":"`+strings.Repeat(`\u0000\"`,
				300)+`","messageId":"`+strings.Repeat(`\u0001<é\"`, 400)+`"},`, 30), ",") + `]`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t, mapAndDeliver(t), Options{})
			var header []string
			if test.encoding != "" {
				header = []string{"Content-Encoding", test.encoding}
			}
			w := serve(h, http.MethodPost, "/segment", strings.NewReader(test.body), header...)
			if w.Body.Len() >= 16_000 {
				t.Errorf("the answer has %d bytes", w.Body.Len())
			}
			if got := w.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			var answer bytes.Buffer
			if err := json.Indent(&answer, w.Body.Bytes(), "", "  "); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			got := fmt.Appendf(nil, "%d %s", w.Code, answer.Bytes())
			path := filepath.Join("..", "..", "testdata", "webhook", name, "want.txt")
			if *update {
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, got,
					0o644)); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// everyReason is a batch with an event for each reason that needs no configuration.
func everyReason() string {
	return `[{"type":"page"},{"type":"identify","userId":"u"},{"type":"track","event":"x"},` +
		`{"a":1,"a":2},{"event":"x"},{"type":"track","userId":"..","event":"x"},{"type":"track","userId":"u"},` +
		`{"type":"track","userId":"u","event":"購入"}]`
}

func TestMethodsAndPaths(t *testing.T) {
	h := newHandler(t, mapAndDeliver(t), Options{})
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"POST", "/segment", 200}, {"PUT", "/segment", 200}, {"PATCH", "/segment", 200}, {"POST", "/segment/", 200},
		{"POST", "/segment?source=web", 200},
		{"GET", "/segment", 405}, {"HEAD", "/segment", 405}, {"DELETE", "/segment", 405}, {"TRACE", "/segment/", 405},
		{"OPTIONS", "/segment", 204}, {"OPTIONS", "/segment/", 204},
		{"OPTIONS", "/healthz", 204}, {"OPTIONS", "/readyz", 204},
		{"POST", "/", 404}, {"POST", "/Segment", 404}, {"POST", "/segment/x", 404}, {"POST", "//segment", 404},
		{"GET", "/x/../segment", 404},
		{"OPTIONS", "/x", 404}, {"HEAD", "/x", 404}, {"CONNECT", "/x", 404},
		{"GET", "/healthz", 200}, {"HEAD", "/healthz", 200}, {"POST", "/healthz", 405}, {"DELETE", "/healthz", 405},
		{"GET", "/readyz", 503}, {"HEAD", "/readyz", 503}, {"PUT", "/readyz", 405},
	} {
		w := serve(h, test.method, test.target, strings.NewReader(good(1)))
		if w.Code != test.status || w.Header().Get("Location") != "" {
			t.Errorf("%s %s: got %d, want %d", test.method, test.target, w.Code, test.status)
		}
		if test.method == "HEAD" || test.status == 204 {
			if w.Body.Len() > 0 {
				t.Errorf("%s %s: answer %s", test.method, test.target, w.Body)
			}
		} else if !json.Valid(w.Body.Bytes()) || !strings.HasPrefix(w.Body.String(), `{"message":`) {
			t.Errorf("%s %s: answer %s", test.method, test.target, w.Body)
		}
		var allow string
		if test.status == 405 || test.status == 204 {
			if allow = "OPTIONS PATCH POST PUT"; strings.HasSuffix(test.target, "z") {
				allow = "GET HEAD OPTIONS"
			}
		}
		methods := strings.Fields(strings.ReplaceAll(w.Header().Get("Allow"), ",", " "))
		slices.Sort(methods)
		if got := strings.Join(methods, " "); got != allow {
			t.Errorf("%s %s: Allow %q, want %q", test.method, test.target, got, allow)
		}
	}
}

// TestHeadIsGetWithoutItsBody compares the headers of both.
func TestHeadIsGetWithoutItsBody(t *testing.T) {
	h := newHandler(t, mapAndDeliver(t), Options{})
	for _, ready := range []bool{false, true} {
		h.SetReady(ready)
		for _, target := range []string{"/healthz", "/readyz", "/segment", "/x"} {
			get, head := serve(h, "GET", target, nil), serve(h, "HEAD", target, nil)
			// whose message has the method
			same := reflect.DeepEqual(head.Header(), get.Header()) || target == "/segment"
			if head.Code != get.Code || !same || head.Body.Len() > 0 {
				t.Errorf("%s: HEAD %d %v %q, GET %d %v", target, head.Code, head.Header(), head.Body, get.Code,
					get.Header())
			}
		}
	}
}

// TestContentEncoding checks every form of the list of codings.
func TestContentEncoding(t *testing.T) {
	h := newHandler(t, mapAndDeliver(t), Options{})
	for _, test := range []struct {
		lines  []string
		zipped bool
		status int
	}{
		{nil, false, 200}, {[]string{""}, false, 200}, {[]string{","}, false, 200},
		{[]string{"identity"}, false, 200}, {[]string{" Identity , identity,"}, false, 200},
		{[]string{"identity", "", "identity"}, false, 200},
		{[]string{"gzip"}, true, 200}, {[]string{"GZip"}, true, 200}, {[]string{"x-gzip"}, true, 200},
		{[]string{"gzip,"}, true, 200}, {[]string{"gzip, identity"}, true, 200}, {[]string{"identity,gzip"}, true,
			200},
		{[]string{", identity,\tgzip ,, identity"}, true, 200},
		{[]string{"identity", "gzip"}, true, 200}, {[]string{"gzip", "identity, "}, true, 200},
		{[]string{"br"}, false, 415}, {[]string{"deflate"}, false, 415},
		{[]string{"gzip, br"}, true, 415}, {[]string{"br", "gzip"}, true, 415},
		{[]string{"gzip, gzip"}, true, 415}, {[]string{"gzip", "x-gzip"}, true, 415},
		{[]string{"gzip identity"}, true, 415}, {[]string{"identity;q=1"}, false, 415},
	} {
		body := good(1)
		if test.zipped {
			body = gzipped(body)
		}
		r := httptest.NewRequest("POST", "/segment", strings.NewReader(body))
		r.Header["Content-Encoding"] = test.lines
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.status {
			t.Errorf("%q: got %d %s, want %d", test.lines, w.Code, w.Body, test.status)
		}
	}
}

func TestReady(t *testing.T) {
	var fault error
	for name, opts := range map[string]Options{"condition": {Ready: func() error { return fault }},
		"no condition": {}} {
		h := newHandler(t, mapAndDeliver(t), opts)
		for _, test := range []struct {
			ready  bool
			fault  error
			status int
			answer string
		}{
			{true, nil, 200, "ready"},
			{false, nil, 503, "not ready"},
			{true, fmt.Errorf("check: %w", &adapter.UnavailableError{Message: "the disk is full",
				Err: errors.New("write /var/secret")}), 503, "the disk is full"},
			{true, errors.New("open /var/secret"), 503, "not ready"},
			{false, &adapter.UnavailableError{Message: "the disk is full"}, 503, "not ready"},
			{true, nil, 200, "ready"},
		} {
			if opts.Ready == nil && test.fault != nil {
				continue
			}
			h.SetReady(test.ready)
			fault = test.fault
			var got answer
			w := serve(h, "GET", "/readyz", nil)
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != test.status ||
				got.Message != test.answer {
				t.Errorf("%s, ready=%t, %v: got %d %s (%v)", name, test.ready, test.fault, w.Code, w.Body, err)
			}
		}
	}
}

func TestContentTypeIsNotInsistedOn(t *testing.T) {
	h := newHandler(t, mapAndDeliver(t), Options{})
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded",
		"application/json; charset=utf-8"} {
		if w := serve(h, "POST", "/segment", strings.NewReader(good(1)), "Content-Type", contentType); w.Code != 200 {
			t.Errorf("%q: %d", contentType, w.Code)
		}
	}
}

func TestStatusOfReceipts(t *testing.T) {
	for name, test := range map[string]struct {
		receipt adapter.Receipt
		err     error
		status  int
		message string
	}{
		"delivered": {adapter.Receipt{Results: []adapter.Result{{Outcome: adapter.Delivered}}}, nil, 200, "delivered"},
		"dead": {adapter.Receipt{Results: []adapter.Result{{Outcome: adapter.Dead,
			Reason: mapping.ReasonUserNotFound}}}, nil, 200, "dead"},
		"pending": {adapter.Receipt{Redeliver: true, Results: []adapter.Result{{Outcome: adapter.Delivered},
			{Index: 1, Outcome: adapter.Pending, Reason: mapping.ReasonUnauthorized, Status: 401}}},
			nil, 503, "2 events: 1 delivered, 1 pending; send this request again"},
		"stored": {adapter.Receipt{Results: []adapter.Result{{Outcome: adapter.Pending}}}, nil, 200, "pending"},
		"all stored": {adapter.Receipt{Results: []adapter.Result{{Outcome: adapter.Skipped},
			{Index: 1, Outcome: adapter.Pending}, {Index: 2, Outcome: adapter.Pending}}}, nil, 200,
			"3 events: 1 skipped, 2 pending"},
		"error": {adapter.Receipt{}, errors.New("disk full at /var/secret"), 503,
			"the events could not be accepted; send this request again"},
		"unavailable": {adapter.Receipt{}, fmt.Errorf("store: %w",
			&adapter.UnavailableError{Message: "the backlog is full", Err: errors.New("/var/secret")}), 503,
			"the backlog is full; send this request again"},
	} {
		core, logged := observer.New(zap.DebugLevel)
		h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
			return test.receipt,
				test.err
		}), Options{Log: zap.New(core)})
		w := serve(h, "POST", "/segment", strings.NewReader("[{},{}]"))
		var got answer
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != test.status ||
			got.Message != test.message {
			t.Errorf("%s: got %d %s (%v)", name, w.Code, w.Body, err)
		}
		level := map[int]zapcore.Level{200: zap.InfoLevel, 503: zap.WarnLevel}[test.status]
		if lines := logged.FilterMessage("request").All(); len(lines) != 1 || lines[0].Level != level ||
			lines[0].ContextMap()["message"] != test.message {
			t.Errorf("%s: logged %v", name, lines)
		}
	}
}

// TestStoredEventsNeedNoAttention checks that pending events come before others in
// the answer only if they have to be sent again.
func TestStoredEventsNeedNoAttention(t *testing.T) {
	receipt := adapter.Receipt{Results: []adapter.Result{{Outcome: adapter.Delivered},
		{Index: 1, Outcome: adapter.Pending}, {Index: 2, Outcome: adapter.Rejected}}}
	for redeliver, want := range map[bool][]int{true: {1, 2, 0}, false: {2, 0, 1}} {
		receipt.Redeliver = redeliver
		var got []int
		for _, result := range answerOf(receipt).Results {
			got = append(got, result.Index)
		}
		if !slices.Equal(got, want) {
			t.Errorf("redeliver=%t: got %v, want %v", redeliver, got, want)
		}
	}
}

// TestProblemsComeFirst checks which of many results stand in the answer.
func TestProblemsComeFirst(t *testing.T) {
	receipt := adapter.Receipt{Results: make([]adapter.Result, 4000)}
	for i := range receipt.Results {
		receipt.Results[i] = adapter.Result{Index: i, Outcome: adapter.Delivered}
	}
	receipt.Results[3990].Outcome = adapter.Dead
	receipt.Results[3999].Outcome = adapter.Rejected
	a := answerOf(receipt)
	if len(a.Results) != 20 || a.Results[0].Index != 3990 || a.Results[1].Index != 3999 || a.Results[2].Index != 0 ||
		a.Results[19].Index != 17 {
		t.Errorf("got %+v", a.Results)
	}
}

func TestPanicIsContained(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) { panic("boom") }),
		Options{Log: zap.New(core)})
	if w := serve(h, "POST", "/segment", strings.NewReader("{}")); w.Code != 500 || strings.Contains(w.Body.String(),
		"boom") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if logged.FilterMessage("panic in a request").Len() != 1 {
		t.Error("the panic is not in the log")
	}
	aborting := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt,
		error) {
		panic(http.ErrAbortHandler)
	}), Options{})
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("ErrAbortHandler did not pass")
		}
	}()
	serve(aborting, "POST", "/segment", strings.NewReader("{}"))
}

// TestLogHoldsNoPayload checks the line of a request.
func TestLogHoldsNoPayload(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	h, err := New([]Connection{{Name: "live", Path: "/s", Acceptor: mapAndDeliver(t),
		Credentials: Credentials{SharedSecrets: secrets("the-secret")}}}, Options{Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	serve(h, "POST", "/s", strings.NewReader(good(1)), "X-Signature", signature("the-secret", good(1)))
	serve(h, "POST", "/s", strings.NewReader(good(1)), "X-Signature", "bad")
	lines := logged.FilterMessage("request").All()
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	if got := lines[0].ContextMap(); got["connection"] != "live" || got["status"] != int64(200) ||
		got["events"] != int64(1) || got["verified_by"] != verifiedByBody {
		t.Errorf("got %v", got)
	}
	for _, line := range lines {
		if text := fmt.Sprint(line.ContextMap()); strings.Contains(text, "u-1") || strings.Contains(text,
			"the-secret") {
			t.Errorf("the log tells too much: %s", text)
		}
	}
}

func TestStrangersAreRefusedBeforeTheirBodyIsRead(t *testing.T) {
	h, err := New([]Connection{{Name: "c", Path: "/s", Acceptor: mapAndDeliver(t),
		Credentials: Credentials{BearerTokens: secrets("token")}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	body := &countingReader{r: strings.NewReader(good(1))}
	if w := serve(h, "POST", "/s", body); w.Code != 401 || body.n != 0 {
		t.Errorf("status %d after %d bytes", w.Code, body.n)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestBodyThatBreaksOff(t *testing.T) {
	accepted := false
	h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
		accepted = true
		return adapter.Receipt{}, nil
	}), Options{})
	w := serve(h, "POST", "/segment", io.MultiReader(strings.NewReader(good(1)), errReader{}))
	if w.Code != 503 || accepted {
		t.Errorf("status %d, accepted %t", w.Code, accepted)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestNewRefusesPaths(t *testing.T) {
	insecure := Credentials{Insecure: true}
	for name, connections := range map[string][]Connection{
		"twice":    {{Path: "/a", Credentials: insecure}, {Path: "/a/", Credentials: insecure}},
		"relative": {{Path: "segment", Credentials: insecure}},
		"root":     {{Path: "/", Credentials: insecure}},
		"health":   {{Path: "/healthz", Credentials: insecure}},
		"wildcard": {{Path: "/:name", Credentials: insecure}},
	} {
		if _, err := New(connections, Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzRead checks that reading never panics and never yields more than the limit.
func FuzzRead(f *testing.F) {
	f.Add([]byte(gzipped(good(1))), "gzip")
	f.Add([]byte(gzipped(good(1)))[:40], "gzip")
	f.Add([]byte(good(1)), "")
	f.Add([]byte(gzipped(good(1))), "identity, gzip")
	f.Add([]byte(`{"batch":[]}`), "identity")
	f.Add([]byte(`a=b&c=d`), "identity,")
	h := newHandler(f, acceptFunc(func(_ context.Context, events [][]byte) (adapter.Receipt, error) {
		return adapter.Receipt{Results: make([]adapter.Result, len(events))}, nil
	}), Options{BodyLimit: 4096})
	f.Fuzz(func(t *testing.T, body []byte, encoding string) {
		w := serve(h, "POST", "/segment", bytes.NewReader(body), "Content-Encoding", encoding)
		switch w.Code {
		case 200, 400, 413, 415:
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}
