package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
)

// observer is a reverse proxy in front of a cloud. It notes the listings, and can cut bodies off.
type observer struct {
	proxy *httputil.ReverseProxy

	mu     sync.Mutex
	listed []string // prefixes, one for each page
	opened []string // keys, with the range if there is one
	cut    int      // how many more bodies are cut off
	after  int64    // behind how many bytes
	deaf   bool     // ranges are not passed on
}

// observe returns a server behind an observer.
func observe(t *testing.T, server *archivetest.Server) (*observer, *archivetest.Server) {
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{proxy: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}}
	proxy := httptest.NewServer(o)
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return o, server.Behind(t, proxy.URL)
}

func (o *observer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	cut := int64(-1)
	query := r.URL.Query()
	if query.Has("list-type") || query.Get("comp") == "list" || strings.HasSuffix(r.URL.Path, "/o") {
		o.listed = append(o.listed, query.Get("prefix"))
	} else {
		o.opened = append(o.opened, r.URL.Path+r.Header.Get("Range")+r.Header.Get("X-Ms-Range"))
		if o.cut > 0 {
			o.cut--
			cut = o.after
		}
	}
	if o.deaf {
		r.Header.Del("Range")
	}
	o.mu.Unlock()
	if cut >= 0 {
		w = &cutWriter{ResponseWriter: w, left: cut}
	}
	o.proxy.ServeHTTP(w, r)
}

// cutWriter closes the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		_, _ = w.ResponseWriter.Write(p[:w.left])
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	w.left -= int64(len(p))
	return w.ResponseWriter.Write(p)
}

func (o *observer) reset(cut int, after int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.listed, o.opened, o.cut, o.after = nil, nil, cut, after
}

// bucketKeys lists an archive of one bucket.
func bucketKeys(t testing.TB, o archive.Options, locations ...string) []string {
	t.Helper()
	scheme, _, _ := strings.Cut(locations[0], ":")
	found, err := keys(t, open(t, o, locations...), scheme+"://logs")
	if err != nil {
		t.Error(err)
	}
	return found
}

// TestClouds reads from a real server of each cloud.
func TestClouds(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *archivetest.Server{
		"S3": archivetest.StartS3, "Google": archivetest.StartGoogle, "Azure": archivetest.StartAzure,
	} {
		t.Run(name, func(t *testing.T) { testCloud(t, start(t, "logs", "empty")) })
	}
}

func testCloud(t *testing.T, server *archivetest.Server) {
	direct := server
	bucket := server.Bucket("logs")
	root := server.Scheme + "://logs/"
	seen, server := observe(t, direct)

	t.Run("archive", func(t *testing.T) {
		made := archivetest.Generate(archivetest.Options{Now: now})
		made.Upload(t, bucket, "all/of it/")
		for _, at := range []string{"all/of it", "all/of it/", "all", "", "all/of it/segment-logs"} {
			g := readAll(t, open(t, archive.Options{}, server.URL("logs", at)), archive.ReadOptions{})
			check(t, made, g, root+"all/of it/")
		}
		for _, file := range made.Files {
			if !file.Log {
				continue
			}
			if got := bucketKeys(t, archive.Options{}, server.URL("logs",
				"all/of it/"+file.Key)); !slices.Equal(got, []string{"all/of it/" + file.Key}) {
				t.Errorf("a named object: %q", got)
			}
		}
	})

	t.Run("names", func(t *testing.T) {
		names := []string{
			"a b+c%20d.json", "ä/日本.json", "q?e=1&f#g.json", `quoted "x".json`, "x__0x2f__.json", "dots...json",
			"a;b,c=d@e:f.json",
		}
		slices.Sort(names)
		for _, name := range names {
			bucket.Put(t, "names/"+name, []byte(name+"\n"), archivetest.Text)
		}
		g := readAll(t, open(t, archive.Options{}, server.URL("logs", "names")), archive.ReadOptions{})
		for _, name := range names {
			if key := root + "names/" + name; !slices.Equal(g.lines[key], []string{name}) {
				t.Errorf("%s: %q, %v", key, g.lines[key], g.fault[key])
			}
		}
		if len(g.keys) != len(names) {
			t.Errorf("%q", g.keys)
		}
	})

	t.Run("prune", func(t *testing.T) {
		for _, source := range []string{"src1", "src2", "src3"} {
			for i := range 5 {
				bucket.Put(t, "pruned/segment-logs/"+source+"/"+millis(monday.AddDate(0, 0, i))+"/1.gz",
					zipped(t, "a\n"), archivetest.Text)
			}
		}
		bucket.Put(t, "pruned/other/1.gz", zipped(t, "a\n"), archivetest.Text)
		a := open(t, archive.Options{From: tuesday, To: wednesday, Sources: []string{"src1", "src3"}},
			server.URL("logs", "pruned"))
		seen.reset(0, 0)
		var got []string
		for o, err := range a.Objects(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimPrefix(o.Key, root+"pruned/segment-logs/"))
		}
		want := []string{"src1/" + millis(tuesday) + "/1.gz", "src3/" + millis(tuesday) + "/1.gz",
			"src1/" + millis(wednesday) + "/1.gz", "src3/" + millis(wednesday) + "/1.gz"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		requests := []string{"pruned/segment-logs/", "pruned/", "pruned/segment-logs/",
			"pruned/segment-logs/src1/", "pruned/segment-logs/src3/"}
		for _, key := range want {
			requests = append(requests, "pruned/segment-logs/"+strings.TrimSuffix(key, "1.gz"))
		}
		if !slices.Equal(seen.listed, requests) {
			t.Errorf("listed %q, want %q", seen.listed, requests)
		}
	})

	t.Run("many pages", func(t *testing.T) {
		const objects = 1100
		var workers sync.WaitGroup
		for worker := range 8 {
			workers.Go(func() {
				for i := worker; i < objects; i += 8 {
					key := fmt.Sprintf("many/segment-logs/src1/%s/%05d.gz", millis(monday), i)
					bucket.Put(t, key, []byte(fmt.Sprintln(i)), archivetest.Stored{})
				}
			})
		}
		workers.Wait()
		seen.reset(0, 0)
		g := readAll(t, open(t, archive.Options{}, server.URL("logs", "many")), archive.ReadOptions{})
		for i, key := range g.keys {
			if !strings.HasSuffix(key, fmt.Sprintf("/%05d.gz", i)) ||
				!slices.Equal(g.lines[key], []string{fmt.Sprint(i)}) || g.fault[key] != nil {
				t.Fatalf("object %d is %s with %q, %v", i, key, g.lines[key], g.fault[key])
			}
		}
		pages := 0
		for _, prefix := range seen.listed {
			if strings.HasSuffix(prefix, millis(monday)+"/") {
				pages++
			}
		}
		if len(g.keys) != objects || pages != 2 {
			t.Errorf("%d objects on %d pages", len(g.keys), pages)
		}
	})

	t.Run("version", func(t *testing.T) {
		version := func(at string) (v string) {
			for o, err := range open(t, archive.Options{}, server.URL("logs", at)).Objects(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				v = o.Version
			}
			return v
		}
		bucket.Put(t, "version/1.gz", []byte("one\n"), archivetest.Text)
		first := version("version/")
		if named := version("version/1.gz"); named != first || first == "" || strings.Contains(first, `"`) {
			t.Errorf("listed as %q, named as %q", first, named)
		}
		a := open(t, archive.Options{}, server.URL("logs", "version/1.gz"))
		bucket.Put(t, "version/1.gz", []byte("two\n"), archivetest.Text)
		if second := version("version"); second == first {
			t.Errorf("still %q", second)
		}
		key := root + "version/1.gz"
		if g := readAll(t, a, archive.ReadOptions{}); !errors.Is(g.fault[key], archive.ErrChanged) {
			t.Errorf("an object that has changed in the same second, to the same size: %q, %v", g.lines[key],
				g.fault[key])
		}
		bucket.Put(t, "version/1.gz", []byte("three\n"), archivetest.Text)
		if g := readAll(t, a, archive.ReadOptions{}); !errors.Is(g.fault[key], archive.ErrChanged) {
			t.Errorf("an object that has changed: %q, %v", g.lines[key], g.fault[key])
		}
	})

	t.Run("broken off", func(t *testing.T) {
		var log bytes.Buffer
		if _, _, err := archivetest.WriteLog(&log, 3<<20, 1); err != nil {
			t.Fatal(err)
		}
		bucket.Put(t, "broken/plain.ndjson", log.Bytes(), archivetest.Text)
		bucket.Put(t, "broken/packed.gz", zipped(t, log.String()), archivetest.Text)
		for _, name := range []string{"plain.ndjson", "packed.gz"} {
			key := root + "broken/" + name
			seen.reset(2, 100_000)
			g := readAll(t, open(t, archive.Options{}, server.URL("logs", "broken/"+name)), archive.ReadOptions{})
			if g.fault[key] != nil || !slices.Equal(g.lines[key], naive(log.String())) {
				t.Errorf("%s, broken off twice: %d lines, %v", name, len(g.lines[key]), g.fault[key])
			}
			if len(seen.opened) != 3 || !strings.Contains(seen.opened[2], "bytes=") {
				t.Errorf("%s: opened %q", name, seen.opened)
			}
			seen.reset(100, 30_000)
			g = readAll(t, open(t, archive.Options{}, server.URL("logs", "broken/"+name)), archive.ReadOptions{})
			if !errors.Is(g.fault[key], io.ErrUnexpectedEOF) || errors.Is(g.fault[key], archive.ErrTruncated) ||
				len(g.lines[key]) == 0 {
				t.Errorf("%s, always broken off: %d lines, %v", name, len(g.lines[key]), g.fault[key])
			}
		}
	})

	t.Run("nothing there", func(t *testing.T) {
		for at, says := range map[string]string{
			server.URL("logs", "nothing"): root + "nothing", server.URL("empty", ""): server.Scheme + "://empty/",
		} {
			_, err := archive.Open(t.Context(), []string{at}, archive.Options{})
			if !errors.Is(err, archive.ErrNothing) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", at, err)
			}
		}
		_, err := archive.Open(t.Context(), []string{server.URL("no-such-bucket", "")}, archive.Options{})
		if err == nil || !strings.Contains(err.Error(), server.Scheme+"://no-such-bucket") {
			t.Errorf("no bucket: %v", err)
		}
		other := direct.URL("logs", "")
		if server.Scheme == "gs" {
			other += "?anonymous=true" // the environment names the server
		}
		_, err = archive.Open(t.Context(), []string{server.URL("logs", ""), other}, archive.Options{})
		if !errors.Is(err, archive.ErrLocation) {
			t.Errorf("two servers: %v", err)
		}
	})

	t.Run("by the environment alone", func(t *testing.T) {
		_, host, _ := strings.Cut(server.Endpoint, "://")
		t.Setenv("AWS_ENDPOINT_URL", server.Endpoint)
		t.Setenv("AZURE_STORAGE_DOMAIN", host)
		t.Setenv("AZURE_STORAGE_PROTOCOL", "http")
		if got := bucketKeys(t, archive.Options{}, root+"broken"); len(got) != 2 {
			t.Errorf("%q", got)
		}
	})

	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := open(t, archive.Options{}, server.URL("logs", "")).Read(ctx, archive.ReadOptions{})
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		cancel()
		for err := error(nil); err == nil; {
			if _, err = r.Next(); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNoRange cuts off an object of a server that ignores ranges: its start must not come twice.
func TestNoRange(t *testing.T) {
	content := strings.Repeat("a line\n", 10_000)
	seen, server := observe(t, archivetest.ServeS3(t, "logs", map[string][]byte{"1.json": []byte(content)}))
	seen.deaf = true
	seen.reset(1, 20_000)
	g := readAll(t, open(t, archive.Options{}, server.URL("logs", "1.json")), archive.ReadOptions{})
	const key = "s3://logs/1.json"
	if g.fault[key] == nil || len(g.lines[key]) > 20_000/len("a line\n") {
		t.Errorf("%d lines, %v", len(g.lines[key]), g.fault[key])
	}
}
