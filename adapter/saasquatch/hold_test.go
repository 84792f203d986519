package saasquatch

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// holdFor is the timeout of the attempts of TestNoAnswerHoldsAWorker. After heldFor an attempt has outlived it, on a
// busy machine too.
const (
	holdFor = 300 * time.Millisecond
	heldFor = 20 * time.Second
)

// rawServer answers every request with the given bytes, and then keeps the connection open. It repeats an answer that
// ends in an ellipsis without an end.
func rawServer(t *testing.T, answer string) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, request.Body)
				part, endless := strings.CutSuffix(answer, "…")
				head, part, found := strings.Cut(part, "|")
				if !found {
					head, part = "", head
				}
				if _, err := io.WriteString(conn, head); err != nil {
					return
				}
				for {
					if _, err := io.WriteString(conn, part); err != nil {
						return
					}
					if !endless {
						break
					}
				}
				_, _ = io.Copy(io.Discard, conn) // until the client closes
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// TestNoAnswerHoldsAWorker checks that no answer holds an attempt beyond its timeout, and that a status below 200 is
// never a success.
func TestNoAnswerHoldsAWorker(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, test := range map[string]struct {
		answer string
		reason mapping.Reason // empty: delivered; endless ones may also time out
	}{
		"silence":            {"", mapping.ReasonTimeout},
		"half a status line": {"HTTP/1.1 20", mapping.ReasonTimeout},
		"half a header":      {ok + "Content-Le", mapping.ReasonTimeout},
		"endless header":     {ok + "X: |aaaaaaaaaaaaaaaa…", mapping.ReasonNetworkError},
		"endless headers":    {ok + "|X: aaaaaaaaaaaaaa\r\n…", mapping.ReasonNetworkError},
		"100":                {"HTTP/1.1 100 Continue\r\n\r\n", mapping.ReasonTimeout},
		"103":                {"HTTP/1.1 103 Early Hints\r\n\r\n", mapping.ReasonTimeout},
		"endless 103":        {"|HTTP/1.1 103 Early Hints\r\n\r\n…", mapping.ReasonNetworkError},
		"101":                {"HTTP/1.1 101 Switching Protocols\r\n\r\n", mapping.ReasonServerError},
		"101 upgrade": {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " +
			"websocket\r\n\r\n", mapping.ReasonServerError},
		"101 endless": {"HTTP/1.1 101 Switching Protocols\r\n\r\n|{}…", mapping.ReasonServerError},
		"101 with a length": {"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 2\r\n\r\n{}",
			mapping.ReasonServerError},
		"status 000":               {"HTTP/1.1 000 X\r\nContent-Length: 2\r\n\r\n{}", mapping.ReasonServerError},
		"status 042":               {"HTTP/1.1 042 X\r\nContent-Length: 2\r\n\r\n{}", mapping.ReasonServerError},
		"199 and then a success":   {"HTTP/1.1 199 X\r\n\r\n" + ok + "Content-Length: 2\r\n\r\n{}", ""},
		"200 without an end":       {ok + "Content-Length: 100\r\n\r\n{", ""},
		"200 without a length":     {ok + "\r\n{", ""},
		"200 without a chunk":      {ok + "Transfer-Encoding: chunked\r\n\r\n", ""},
		"200 with endless chunks":  {ok + "Transfer-Encoding: chunked\r\n\r\n|1\r\n \r\n…", ""},
		"200 with an endless page": {ok + "\r\n|<html>…", mapping.ReasonUnexpectedAnswer},
		"500 without an end":       {"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n{", mapping.ReasonServerError},
		"400 endless":              {"HTTP/1.1 400 X\r\n\r\n|{…", mapping.ReasonUnexpectedAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upsert := &mapping.UserUpsert{UserID: "u", AccountID: "a", Body: []byte(`{}`)}
			for call, send := range map[string]func(*Client) adapter.Attempt{
				"event":  func(c *Client) adapter.Attempt { return c.Track(t.Context(), testEvent("u1")) },
				"upsert": func(c *Client) adapter.Attempt { return c.Upsert(t.Context(), upsert) },
			} {
				client, err := New(Options{
					BaseURL: rawServer(t, test.answer), TenantAlias: "t", UserAgent: "test", AttemptTimeout: holdFor,
				})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				got := send(client)
				if took := time.Since(began); took > heldFor {
					t.Errorf("%s: held for %v", call, took)
				}
				want := adapter.Pending
				if test.reason == "" {
					want = adapter.Delivered
				}
				if got.Outcome != want || got.Reason != test.reason &&
					!(test.reason == mapping.ReasonNetworkError && got.Reason == mapping.ReasonTimeout) {
					t.Errorf("%s: got %+v, want %v %s", call, got, want, test.reason)
				}
			}
		})
	}
}
