package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// TestMaxEvents checks that a body of very many small elements is refused from every
// sender, and that the limit itself is allowed.
func TestMaxEvents(t *testing.T) {
	largest := 0
	count := acceptFunc(func(_ context.Context, events [][]byte) (adapter.Receipt, error) {
		largest = max(largest, len(events))
		return adapter.Receipt{Results: make([]adapter.Result, len(events))}, nil
	})
	ones := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	h := newHandler(t, count, Options{})
	for n, want := range map[int]int{DefaultMaxEvents: 200, DefaultMaxEvents + 1: 413, 5 << 20: 413} {
		if w := serve(h, "POST", "/segment", strings.NewReader(ones(n))); w.Code != want {
			t.Errorf("%d events: %d, want %d", n, w.Code, want)
		}
	}
	if largest != DefaultMaxEvents {
		t.Errorf("%d events were handed on", largest)
	}
	signed, err := New([]Connection{{Path: "/s", Acceptor: count, Credentials: Credentials{SharedSecrets: secrets("s"),
		AllowFirstElementSignature: true}}}, Options{MaxEvents: 2})
	if err != nil {
		t.Fatal(err)
	}
	if w := serve(signed, "POST", "/s", strings.NewReader(ones(3)), "X-Signature",
		signature("s", "1")); w.Code != 413 {
		t.Errorf("signed by its first element: %d, want the real fault, 413", w.Code)
	}
}

// TestAnswersStayShort fills every part of an answer that events can fill.
func TestAnswersStayShort(t *testing.T) {
	warnings := []mapping.Warning{
		mapping.WarningFieldInvalid, mapping.WarningFieldNameCollision, mapping.WarningFieldNameEmpty,
		mapping.WarningFieldNotInSchema, mapping.WarningMessageIDInvalid, mapping.WarningMessageIDMissing,
		mapping.WarningNoTimestamp, mapping.WarningProductsTruncated, mapping.WarningStringTruncated,
		mapping.WarningValueUnsupported,
	}
	for _, text := range []string{"a", "é", "\u2028", "\u2029", `"`, `\`, "<", "\x00", "\n", "\x7f", "\xff",
		"\U0001f600"} {
		receipt := adapter.Receipt{Redeliver: true, Results: make([]adapter.Result, 4000)}
		for i := range receipt.Results {
			long := strings.Repeat(text, 1000)
			receipt.Results[i] = adapter.Result{Index: i, MessageID: long, EventKey: long, Detail: long,
				Outcome: adapter.Outcomes[i%len(adapter.Outcomes)], Reason: mapping.ReasonConflictAfterFailure,
				Warnings: warnings}
		}
		h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
			return receipt,
				nil
		}), Options{})
		w := serve(h, "POST", "/segment", strings.NewReader("{}"))
		var got answer
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if w.Body.Len() > maxAnswer || len(got.Results) < 10 || got.Results[0].Outcome != "rejected" ||
			got.Counts.Delivered == 0 {
			t.Errorf("%q: %d bytes with %d results", text, w.Body.Len(), len(got.Results))
		}
	}
}

// TestJSONLen checks that no character takes more bytes than bounded counts.
func TestJSONLen(t *testing.T) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	for r := rune(0); r <= 0xffff; r++ {
		text.Reset()
		if err := encoder.Encode(string(r)); err != nil {
			t.Fatal(err)
		}
		got := text.Len() - len("\"\"\n")
		for _, decoded := range string(r) { // a surrogate becomes U+FFFD
			if want := jsonLen(decoded); got > want {
				t.Errorf("%U: %d bytes, counted as %d", r, got, want)
			}
		}
	}
}

// TestReadFaults checks the status of bodies that do not arrive whole, and that
// the answer tells nothing of the network.
func TestReadFaults(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		message string
	}{
		"too slow": {fmt.Errorf("read tcp 10.1.2.3:80: %w", os.ErrDeadlineExceeded),
			"read the body: it came too slowly, %d bytes in time: send this request again"},
		"ends too early": {io.ErrUnexpectedEOF,
			"read the body: it broke off after %d bytes: send this request again"},
		"connection reset": {errors.New("read tcp 10.1.2.3:80: connection reset by peer"),
			"read the body: it broke off after %d bytes: send this request again"},
	} {
		for _, encoding := range []string{"", "gzip"} {
			whole := good(1)
			if encoding == "gzip" {
				whole = gzipped(whole)
			}
			h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) {
				t.Errorf("%s %s: accepted", name, encoding)
				return adapter.Receipt{}, nil
			}), Options{})
			w := serve(h, "POST", "/segment", io.MultiReader(strings.NewReader(whole[:len(whole)/2]),
				failing{test.err}), "Content-Encoding", encoding)
			var got answer
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 503 ||
				got.Message != fmt.Sprintf(test.message, len(whole)/2) {
				t.Errorf("%s %s: got %d %s (%v), want 503", name, encoding, w.Code, w.Body, err)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// checkMemoryIsFree checks that no request holds memory any more.
func checkMemoryIsFree(t *testing.T, h *Handler) {
	t.Helper()
	m := h.reader.memory
	for name, lane := range map[string]*pool{"small": &m.small, "waiting": &m.waiting, "large": &m.large} {
		if !lane.bodies.TryAcquire(lane.room) || !lane.handling.TryAcquire(lane.most) {
			t.Errorf("memory of %s requests is still reserved", name)
			continue
		}
		lane.bodies.Release(lane.room)
		lane.handling.Release(lane.most)
	}
	if ss := &m.strangers; ss.used != 0 || len(ss.shares) > 0 || ss.coming.Len() > 0 {
		t.Errorf("memory of strangers is still reserved: %d bytes of %v, %d bodies", ss.used, ss.shares,
			ss.coming.Len())
	}
}

// TestDeclaredBytesAreNotReserved checks that strangers who declare large bodies and
// send next to nothing keep no other sender from being served.
func TestDeclaredBytesAreNotReserved(t *testing.T) {
	h := newHandler(t, mapAndDeliver(t), Options{BodyLimit: 1 << 20, Memory: 128 << 20})
	for _, encoding := range []string{"", "gzip"} {
		var pipes []*io.PipeWriter
		done := make(chan int, 100)
		for range 100 {
			reader, writer := io.Pipe()
			pipes = append(pipes, writer)
			go func() {
				r := httptest.NewRequest("POST", "/segment", reader)
				r.ContentLength = 1 << 20
				r.Header.Set("Content-Encoding", encoding)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				reader.Close() // a refused body is not read: fail its writer
				done <- w.Code
			}()
			if _, err := writer.Write([]byte("\x1f")); err != nil {
				t.Fatal(err)
			}
		}
		if w := serve(h, "POST", "/segment", strings.NewReader(many(1000, good(0)))); w.Code != 200 {
			t.Errorf("a batch among strangers: %d", w.Code)
		}
		for _, pipe := range pipes {
			pipe.CloseWithError(io.ErrUnexpectedEOF)
		}
		for range pipes {
			if code := <-done; code != 503 {
				t.Errorf("a stranger: %d", code)
			}
		}
	}
	checkMemoryIsFree(t, h)
}

// TestSlowGzipKeepsNobodyAway checks that gzip bodies of strangers that stall behind bytes
// that unpack to much keep no other sender from being served.
func TestSlowGzipKeepsNobodyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		h, err := New([]Connection{{Path: "/s", Acceptor: mapAndDeliver(t),
			Credentials: Credentials{SharedSecrets: secrets("s")}}},
			Options{BodyLimit: limit, Memory: 1})
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		zip := gzip.NewWriter(&packed)
		if _, err := io.WriteString(zip, strings.Repeat(" ", limit-100)); err != nil {
			t.Fatal(err)
		}
		if err := zip.Flush(); err != nil {
			t.Fatal(err)
		}
		var pipes []*io.PipeWriter
		done := make(chan int, 20)
		for range 20 {
			reader, writer := io.Pipe()
			pipes = append(pipes, writer)
			go func() {
				done <- serve(h, "POST", "/s", reader, "Content-Encoding", "gzip", "X-Signature", strings.Repeat("0",
					40)).Code
				reader.Close()
			}()
			_, _ = writer.Write(packed.Bytes())
			synctest.Wait()
		}
		time.Sleep(evictAge)
		exact := strings.Repeat(" ", limit-len(good(1))) + good(1)
		for _, test := range []struct{ body, encoding string }{{exact, ""}, {gzipped(exact), "gzip"}} {
			if w := serve(h, "POST", "/s", strings.NewReader(test.body), "Content-Encoding", test.encoding,
				"X-Signature", signature("s", exact)); w.Code != 200 {
				t.Errorf("a batch among slow ones: %d %s", w.Code, w.Body)
			}
		}
		for _, pipe := range pipes {
			pipe.CloseWithError(io.ErrUnexpectedEOF)
		}
		for range pipes {
			if code := <-done; code != 503 {
				t.Errorf("a slow one: %d", code)
			}
		}
		checkMemoryIsFree(t, h)
	})
}

// TestLargestGzipFits checks that the limit on all bodies leaves room for one that
// gzip makes no shorter.
func TestLargestGzipFits(t *testing.T) {
	const limit = 1 << 20
	text := []byte(`{"type":"page","pad":"`)
	random := rand.NewChaCha8([32]byte{1})
	for len(text) < limit-2 {
		text = append(text, 0x20+byte(random.Uint64()%95))
		if last := len(text) - 1; text[last] == '"' || text[last] == '\\' {
			text[last] = 'x'
		}
	}
	text = append(text, '"', '}')
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = zip.Write(text)
	_ = zip.Close()
	h := newHandler(t, mapAndDeliver(t), Options{BodyLimit: limit, Memory: 1})
	r := httptest.NewRequest("POST", "/segment", &packed)
	r.ContentLength = -1
	r.Header.Set("Content-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestCompressedBytesAreBounded sends gzip members without data, of which no
// number reaches the limit after decompression.
func TestCompressedBytesAreBounded(t *testing.T) {
	h := newHandler(t, mapAndDeliver(t), Options{BodyLimit: 1 << 10})
	endless := &repeating{text: gzipped("")}
	r := httptest.NewRequest("POST", "/segment", endless)
	r.ContentLength = -1
	r.Header.Set("Content-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || endless.n > 1<<20 {
		t.Errorf("got %d after %d bytes", w.Code, endless.n)
	}
}

type repeating struct {
	text string
	n    int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.n%len(r.text):])
	r.n += n
	return n, nil
}

// TestUnsignedBodiesAreNotRead checks that a body is left alone where nothing in
// it could make up for its missing or malformed signature.
func TestUnsignedBodiesAreNotRead(t *testing.T) {
	for name, test := range map[string]struct {
		signature string
		bearer    bool
		read      bool
	}{
		"missing":            {"", false, false},
		"malformed":          {"0123", false, false},
		"malformed, bearer":  {"0123", true, false},
		"missing, bearer":    {"", true, true}, // excused if the first event is null
		"well-formed, wrong": {strings.Repeat("0", 40), false, true},
	} {
		credentials := Credentials{SharedSecrets: secrets("s")}
		header := []string{"X-Signature", test.signature, "Authorization", "Bearer t"}
		if test.bearer {
			credentials.BearerTokens = secrets("t")
		}
		h, err := New([]Connection{{Path: "/s", Acceptor: mapAndDeliver(t), Credentials: credentials}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		body := &countingReader{r: strings.NewReader(good(1))}
		if w := serve(h, "POST", "/s", body, header...); w.Code != 401 || body.n > 0 != test.read {
			t.Errorf("%s: status %d after %d bytes", name, w.Code, body.n)
		}
		if w := serve(h, "POST", "/s", http.NoBody, header...); w.Code != 400 && !strings.HasPrefix(name,
			"malformed") {
			t.Errorf("%s, empty body: status %d", name, w.Code)
		}
	}
}

func TestPanicsAreCounted(t *testing.T) {
	h := newHandler(t, acceptFunc(func(context.Context, [][]byte) (adapter.Receipt, error) { panic("boom") }),
		Options{})
	for range 3 {
		serve(h, "POST", "/segment", strings.NewReader("{}"))
	}
	if h.Panics() != 3 {
		t.Errorf("counted %d", h.Panics())
	}
}
