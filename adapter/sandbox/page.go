package sandbox

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"instant": func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000") },
	"text":    http.StatusText,
}).Parse(pageText))

const (
	defaultListed = 100 // events in /_sandbox/events
	listedOnPage  = 50  // events on the HTML page
	pageRefresh   = 3   // in seconds
	maxControl    = 4096
)

// servePages answers below /_sandbox; path is what follows it.
func (s *Server) servePages(w http.ResponseWriter, r *http.Request, path string) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	posts := r.Method == http.MethodPost
	switch {
	case path == "" && reads:
		http.Redirect(w, r, "/_sandbox/", http.StatusFound)
	case path == "/" && reads:
		s.servePage(w, r)
	case path == "/events" && reads:
		s.serveEvents(w, r)
	case path == "/stats" && reads:
		writeJSON(w, http.StatusOK, s.Stats())
	case posts && controls[path] != nil:
		if requireJSON(w, r) {
			controls[path](s, w, r)
		}
	default:
		http.Error(w, "no such page of the sandbox", http.StatusNotFound)
	}
}

// controls are the endpoints that change the sandbox, by path.
var controls = map[string]func(*Server, http.ResponseWriter, *http.Request){
	"/reset":        (*Server).serveReset,
	"/clock":        (*Server).serveClock,
	"/do-not-track": (*Server).serveDoNotTrack,
}

// requireJSON checks the content type of a request that changes the sandbox, and answers 415 if it is wrong. A browser
// sends application/json to another site only after a CORS preflight, which the sandbox refuses. So no web page can
// change a sandbox on this machine.
func requireJSON(w http.ResponseWriter, r *http.Request) bool {
	if isJSON(r.Header.Get("Content-Type")) {
		return true
	}
	http.Error(w, "send the header Content-Type: application/json", http.StatusUnsupportedMediaType)
	return false
}

func (s *Server) serveReset(w http.ResponseWriter, _ *http.Request) {
	s.Reset()
	writeJSON(w, http.StatusOK, struct{}{})
}

// readControl decodes a body without unknown members. It reports whether the body is valid.
func readControl(w http.ResponseWriter, r *http.Request, body any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControl))
	decoder.DisallowUnknownFields()
	return decoder.Decode(body) == nil
}

func (s *Server) serveClock(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Advance string `json:"advance"`
	}
	if !readControl(w, r, &body) {
		http.Error(w, `want a body such as {"advance":"25h"}`, http.StatusBadRequest)
		return
	}
	by, err := time.ParseDuration(body.Advance)
	if err == nil {
		err = s.Advance(by)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	now := s.now()
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]time.Time{"now": now})
}

// filter selects events by the query parameters key and user; an empty one matches all.
type filter struct {
	Key, User string
	limit     int
}

func parseFilter(r *http.Request, limit int) (filter, error) {
	query := r.URL.Query()
	f := filter{Key: query.Get("key"), User: query.Get("user"), limit: limit}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return filter{}, errors.New("limit: want a number of at least 1")
		}
		f.limit = n
	}
	return f, nil
}

func (f filter) match(event *Event) bool {
	return (f.Key == "" || f.Key == event.Key) && (f.User == "" || f.User == event.UserID)
}

func (s *Server) find(f filter) []Event {
	s.runJobs()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.latest(f.limit, f.match)
}

// serveEvents lists the latest events, the newest last. The default limit is 100.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	f, err := parseFilter(r, defaultListed)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	events := s.find(f)
	if !strings.Contains(r.Header.Get("Accept"), "application/x-ndjson") {
		writeJSON(w, http.StatusOK, map[string][]Event{"events": events})
		return
	}
	setHeaders(w, "application/x-ndjson")
	encoder := json.NewEncoder(w)
	for i := range events {
		if encoder.Encode(&events[i]) != nil {
			return // the client disconnected
		}
	}
}

// pageData is the data of the HTML page.
type pageData struct {
	Stats   Stats
	Events  []Event // the newest first
	Filter  filter
	Refresh int
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	f, err := parseFilter(r, listedOnPage)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	events := s.find(f)
	slices.Reverse(events)
	var out strings.Builder
	data := pageData{Stats: s.Stats(), Events: events, Filter: f, Refresh: pageRefresh}
	if err := page.Execute(&out, data); err != nil {
		http.Error(w, fmt.Sprintf("render page: %v", err), http.StatusInternalServerError)
		return
	}
	setHeaders(w, "text/html; charset=utf-8")
	// The page has no scripts, and loads nothing from other hosts.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = io.WriteString(w, out.String())
}

// setHeaders sets the headers that all pages share.
func setHeaders(w http.ResponseWriter, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	setHeaders(w, "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only if the client disconnected
}
