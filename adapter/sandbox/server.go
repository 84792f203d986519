package sandbox

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// UserPolicy says for which users events are accepted.
type UserPolicy uint8

const (
	// KnownUsers accepts events of users that were created or upserted before. It answers 404 for all others, as
	// SaaSquatch does.
	KnownUsers UserPolicy = iota + 1
	// AnyUser accepts the events of every user. It creates no user: a look-up still answers 404.
	AnyUser
)

// Options configure a [Server]. The zero value is valid.
type Options struct {
	// Tenants maps tenant aliases to their API keys. An empty map accepts every alias with every key that is not
	// empty. Default: empty.
	Tenants map[string]string
	// Users says for which users events are accepted. Default: KnownUsers.
	Users UserPolicy
	// BurnKeys makes a failed attempt use up its idempotency key, so that the retry gets 409 although nothing was
	// processed. That holds for refused requests, injected failures, resets and time-outs. It does not hold for
	// requests without valid credentials and for bulk calls that are refused for their size. SaaSquatch does not
	// publish whether it does so. Default: false.
	BurnKeys bool
	// BulkLimit is the number of inputs from which on a GraphQL call with several inputs is refused as a whole, with a
	// 400 in extensions.apiError. SaaSquatch publishes 100 for users only. Default: 100 inputs are taken.
	BulkLimit int
	// BulkBytes bounds the body of such a call, in bytes. A larger body gets a 413. Default: 1 MiB, which bounds every
	// body.
	BulkBytes int64
	// Faults are the faults to inject. Default: none.
	Faults Faults
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// JobTime is the duration of an import job, by the sandbox's clock. The job imports its records evenly over that
	// time. Default: 0, which completes a job at the first look.
	JobTime time.Duration
	// Jobs are the faults to inject into import jobs. Default: none.
	Jobs JobFaults
	// RecordNumberBase is the number of an import's first record in its error file. Default: RecordsFromOne.
	RecordNumberBase RecordBase
	// Rand decides about faults. The server owns it from then on. Default: a randomly seeded source.
	Rand *rand.Rand
	// MaxEvents bounds the accepted events in memory, for [Server.Events] and the pages. The oldest are dropped. A
	// second, fixed bound is 256 MiB of event data. Neither affects counters and idempotency keys. Default: 100 000.
	MaxEvents int
	// MaxDisk bounds the uploads and the results of jobs, in bytes of the directory for temporary files. The oldest of
	// completed jobs are evicted. If that is not enough, uploads get 503 and jobs abort. Default: 1 GiB.
	MaxDisk int64
}

const (
	defaultBulkLimit = 100
	defaultMaxEvents = 100_000
	defaultMaxDisk   = 1 << 30
)

// Server is a simulated SaaSquatch. It is an [http.Handler] and safe for concurrent use. Its state is in memory,
// except uploads and results of jobs: they are on disk until Reset or Close.
type Server struct {
	users      UserPolicy
	burnKeys   bool
	anyTenant  bool
	bulkLimit  int
	bulkBytes  int64
	faults     Faults
	injector   injector
	realNow    func() time.Time
	maxEvents  int
	seeds      [2]maphash.Seed
	jobTime    time.Duration
	jobFaults  JobFaults
	recordBase RecordBase

	// counts points to the counters since the last reset.
	counts atomic.Pointer[counters]
	spool  spool

	closed    chan struct{}
	closeOnce sync.Once

	mu      sync.Mutex // guards the fields below
	ahead   time.Duration
	tenants map[string]*tenant
	// untracked are the users of all tenants that are not to be tracked.
	untracked map[userRef]struct{}
	log       eventLog
	uploads   uint64 // since the last reset
	jobs      int    // since the last reset
	pending   []*job // in the order of their creation
}

// tenant is the state of one tenant. The server's mutex guards it, except alias and apiKey, which never change.
type tenant struct {
	alias    string
	apiKey   string
	keys     keyMemory
	users    map[userRef]*user
	accounts map[string]int // users in the account
	// untracked is the server's.
	untracked map[userRef]struct{}
	uploads   map[string]*upload
	jobs      map[string]*job
	// eventKeys are the keys of all accepted events.
	eventKeys map[string]struct{}
}

// userRef identifies a user within a tenant.
type userRef struct{ accountID, userID string }

// New returns a sandbox. The error joins all errors of the options.
func New(options Options) (*Server, error) {
	s := &Server{
		users:      cmp.Or(options.Users, KnownUsers),
		burnKeys:   options.BurnKeys,
		anyTenant:  len(options.Tenants) == 0,
		bulkLimit:  cmp.Or(options.BulkLimit, defaultBulkLimit),
		bulkBytes:  cmp.Or(options.BulkBytes, maxBody),
		faults:     options.Faults.withDefaults(),
		realNow:    options.Now,
		maxEvents:  cmp.Or(options.MaxEvents, defaultMaxEvents),
		seeds:      [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		jobTime:    options.JobTime,
		jobFaults:  options.Jobs,
		recordBase: cmp.Or(options.RecordNumberBase, RecordsFromOne),
		spool:      spool{limit: cmp.Or(options.MaxDisk, defaultMaxDisk)},
		closed:     make(chan struct{}),
		tenants:    make(map[string]*tenant, len(options.Tenants)),
		untracked:  make(map[userRef]struct{}),
	}
	s.counts.Store(new(counters))
	if s.realNow == nil {
		s.realNow = time.Now
	}
	s.injector = newInjector(s.faults, options.Rand)

	errs := []error{s.faults.validate(), s.jobFaults.validate()}
	if s.users > AnyUser {
		errs = append(errs, fmt.Errorf("users: unknown policy %d", s.users))
	}
	if s.bulkLimit < 0 || s.bulkBytes < 0 {
		errs = append(errs, fmt.Errorf("bulk limits: %d inputs, %d bytes: must not be negative", s.bulkLimit,
			s.bulkBytes))
	}
	if s.maxEvents < 0 {
		errs = append(errs, fmt.Errorf("max events: %d is negative", s.maxEvents))
	}
	if s.spool.limit < 0 {
		errs = append(errs, fmt.Errorf("max disk: %d is negative", s.spool.limit))
	}
	if s.jobTime < 0 || s.jobTime > maxAdvance {
		errs = append(errs, fmt.Errorf("job time: %v: want 0 to %v", s.jobTime, maxAdvance))
	}
	if s.recordBase > RecordsFromZero {
		errs = append(errs, fmt.Errorf("record number base: unknown value %d", s.recordBase))
	}
	for alias, apiKey := range options.Tenants {
		if alias == "" || apiKey == "" {
			errs = append(errs, fmt.Errorf("tenant %q: both alias and API key must not be empty", alias))
		}
		s.addTenant(alias, apiKey)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("sandbox options: %w", err)
	}
	return s, nil
}

func (s *Server) addTenant(alias, apiKey string) *tenant {
	t := &tenant{alias: alias, apiKey: apiKey, untracked: s.untracked}
	t.clear(s.seeds)
	s.tenants[alias] = t
	return t
}

func (t *tenant) clear(seeds [2]maphash.Seed) {
	t.keys = newKeyMemory(seeds)
	t.users = make(map[userRef]*user)
	t.accounts = make(map[string]int)
	t.uploads = make(map[string]*upload)
	for _, j := range t.jobs {
		j.forgotten = true
	}
	t.jobs = make(map[string]*job)
	t.eventKeys = make(map[string]struct{})
}

// Reset removes events, users, do-not-track marks, idempotency keys, uploads and jobs. It sets all counters to zero,
// and the clock back to that of the options. Requests in flight may still count.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = 0
	s.log = eventLog{}
	clear(s.untracked)
	for _, t := range s.tenants {
		t.clear(s.seeds)
	}
	s.uploads, s.jobs, s.pending = 0, 0, nil
	s.spool.clear()
	s.counts.Store(new(counters))
}

// Close ends all injected time-outs and latencies, so that an [http.Server] can shut down; it is meant for
// RegisterOnShutdown. It frees the disk of uploads and results. The sandbox continues to answer, without waits and
// files.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		s.spool.close()
	})
	return nil
}

// maxAdvance bounds one move of the clock, so that no sum of durations overflows.
const maxAdvance = 10 * 365 * 24 * time.Hour

// Advance moves the sandbox's clock forward. It fails if by is negative or more than ten years.
func (s *Server) Advance(by time.Duration) error {
	if by < 0 || by > maxAdvance {
		return fmt.Errorf("advance clock by %v: want 0 to %v", by, maxAdvance)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ahead > 10*maxAdvance {
		return fmt.Errorf("advance clock by %v: it is already %v ahead", by, s.ahead)
	}
	s.ahead += by
	return nil
}

// now is the sandbox's time. The caller holds the mutex.
func (s *Server) now() time.Time { return s.realNow().Add(s.ahead) }

// ServeHTTP answers calls of the API and shows the pages below /_sandbox/.
//
// It matches the escaped path of the request, and neither cleans nor redirects it. An injected time-out panics with
// [http.ErrAbortHandler]. So does an injected reset if the connection cannot be hijacked.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, "/_sandbox"); ok && (rest == "" || rest[0] == '/') {
		s.servePages(w, r, rest)
		return
	}
	s.serveAPI(w, r, path)
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, path string) {
	s.counts.Load().requests.Add(1)
	scratch := scratches.Get().(*scratch)
	defer scratch.free()

	// Always read the body: it keeps the connection usable, and net/http detects a client that gives up only
	// afterwards.
	a := attempt{request: r, scratch: scratch}
	var routeErr *apiError
	if a.call, routeErr = route(r.Method, path); routeErr != nil {
		s.counts.Load().unexpected.note(r.Method, path)
	}
	if a.call.endpoint != uploadFile {
		a.body, a.bodyErr = readBody(r)
	}
	if a.call.endpoint == runGraphQL && a.bodyErr == nil {
		a.graphQL, a.graphQLErr = parseGraphQL(&scratch.reader, a.body)
	}
	fault := s.injector.draw(a.graphQL.bulk)
	a.lost = fault.kind != noFault && !fault.after

	var answer answer
	if routeErr != nil {
		answer = routeErr.answer(scratch)
	} else {
		answer = s.process(&a)
	}
	if a.call.endpoint == uploadFile {
		drainUpload(r.Body)
	}
	// Wait after processing, because a real server does not notice that its client has given up.
	s.wait(r.Context(), s.faults.Latency)

	s.counts.Load().injected(fault)
	switch fault.kind {
	case failFault:
		answer = fault.rule.answer(scratch)
	case resetFault:
		reset(w)
		return
	case timeoutFault:
		s.wait(r.Context(), s.faults.TimeoutLimit)
		panic(http.ErrAbortHandler)
	}
	s.counts.Load().answered(answer.status)
	answer.write(w)
}

// attempt is one request of the API.
type attempt struct {
	request *http.Request
	call    call
	body    []byte
	bodyErr *apiError
	// graphQL is the body of a GraphQL call, parsed.
	graphQL    graphQLRequest
	graphQLErr *apiError
	scratch    *scratch
	// lost says that a fault comes before processing. The attempt must have no effect, except to use up its key with
	// BurnKeys.
	lost bool
}

// process answers the call. It has no effect if the attempt is lost, except to use up a key.
func (s *Server) process(a *attempt) answer {
	if a.lost && !s.burnKeys {
		return answer{}
	}
	t, apiErr := s.publicLink(a), (*apiError)(nil)
	if t == nil {
		t, apiErr = s.authorize(a.request, a.call.tenant)
	}
	if apiErr == nil {
		apiErr = a.bodyErr
	}
	if apiErr == nil && a.call.endpoint.takesJSON() && !isJSON(a.request.Header.Get("Content-Type")) {
		apiErr = errContentType
	}
	if apiErr != nil {
		return apiErr.answer(a.scratch)
	}
	switch {
	case a.call.endpoint == trackEvents:
		return s.trackEvents(t, a)
	case a.call.endpoint == runGraphQL:
		return s.graphQL(t, a)
	case a.lost:
		return answer{}
	case a.call.endpoint == uploadFile:
		return s.upload(t, a)
	case a.call.endpoint == downloadFile:
		return s.download(t, a)
	default:
		return s.serveUser(t, a)
	}
}

// authorize finds the tenant and checks the API key, which is the password of HTTP Basic. It ignores the user name,
// because SaaSquatch's API definition names only the password. It reports an unknown tenant before a wrong key, as the
// live service does. The sandbox does not simulate user tokens (JWT).
func (s *Server) authorize(r *http.Request, alias string) (*tenant, *apiError) {
	_, password, ok := r.BasicAuth()
	ok = ok && password != ""
	if s.anyTenant {
		switch {
		case alias == "":
			return nil, errTenantNotFound
		case !ok:
			return nil, errUnauthorized
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		t := s.tenants[alias]
		if t == nil {
			t = s.addTenant(strings.Clone(alias), "")
		}
		return t, nil
	}
	t := s.tenants[alias] // never written to after New
	if t == nil {
		return nil, errTenantNotFound
	}
	if !ok || subtle.ConstantTimeCompare([]byte(password), []byte(t.apiKey)) != 1 {
		return nil, errUnauthorized
	}
	return t, nil
}

// wait returns after d, or sooner if the client gives up or the server closes.
func (s *Server) wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.closed:
	}
}

// answer is a response. The body is valid until the scratch is freed.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
	// contentType, content and size describe a body that is not JSON.
	contentType string
	content     io.Reader
	size        int64
}

var jsonType = []string{"application/json"}

func (a answer) write(w http.ResponseWriter) {
	header := w.Header()
	if a.content == nil {
		header["Content-Type"] = jsonType
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	} else {
		header.Set("Content-Type", a.contentType)
		header.Set("Content-Length", strconv.FormatInt(a.size, 10))
	}
	if a.retryAfter > 0 {
		header.Set("Retry-After", retryAfterSeconds(a.retryAfter))
	}
	if a.status == http.StatusUnauthorized {
		header.Set("Www-Authenticate", `Basic realm="SaaSquatch sandbox"`)
	}
	w.WriteHeader(a.status)
	// A client that disconnects is no error of the sandbox. A file that is removed meanwhile ends too early, which the
	// client sees by the length.
	if a.content == nil {
		_, _ = w.Write(a.body)
	} else {
		_, _ = io.Copy(w, a.content)
	}
}
