package webhook

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"segment-saasquatch/adapter"
)

// TestLateStoreKeepsTheBody has a store be late. It may still read the body after the
// answer, so the body's memory is in use until it is done.
func TestLateStoreKeepsTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		var held []byte
		h := newHandler(t, acceptFunc(func(_ context.Context, events [][]byte) (adapter.Receipt, error) {
			if held == nil {
				held = events[0]
				return adapter.Receipt{}, &adapter.LateError{Done: done}
			}
			return adapter.Receipt{Results: make([]adapter.Result, len(events))}, nil
		}), Options{BodyLimit: 1 << 20, Memory: 1}) // room for one large body
		post := func(filler string) *httptest.ResponseRecorder {
			body := `{"filler":"` + strings.Repeat(filler, 600<<10) + `"}`
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/segment", strings.NewReader(body)))
			return w
		}
		if w := post("a"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(),
			"does not answer in time; send this request again") {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		if w := post("b"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(),
			"too many large requests") {
			t.Errorf("while the store has the body: %d %s", w.Code, w.Body)
		}
		if bytes.ContainsRune(held, 'b') {
			t.Error("the body was overwritten")
		}
		close(done)
		synctest.Wait()
		if w := post("c"); w.Code != http.StatusOK {
			t.Errorf("when the store is done: %d %s", w.Code, w.Body)
		}
	})
}
