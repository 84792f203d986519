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

	"gocloud.dev/blob"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
)

// observer is a reverse proxy in front of S3 that notes what is listed, and can
// break bodies off.
type observer struct {
	proxy *httputil.ReverseProxy

	mu     sync.Mutex
	listed []string // prefixes, one for each page
	opened []string // keys, with the range if there is one
	cut    int      // how many more bodies are cut off
	after  int64    // behind how many bytes
}

func observe(t *testing.T, s3 *archivetest.S3) (*observer, *archivetest.S3) {
	target, err := url.Parse(s3.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{proxy: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}}
	server := httptest.NewServer(o)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return o, &archivetest.S3{Endpoint: server.URL}
}

func (o *observer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	cut := int64(-1)
	if query := r.URL.Query(); query.Get("list-type") != "" {
		o.listed = append(o.listed, query.Get("prefix"))
	} else {
		o.opened = append(o.opened, r.URL.Path+r.Header.Get("Range"))
		if o.cut > 0 {
			o.cut--
			cut = o.after
		}
	}
	o.mu.Unlock()
	if cut >= 0 {
		w = &cutWriter{ResponseWriter: w, left: cut}
	}
	o.proxy.ServeHTTP(w, r)
}

// cutWriter breaks the connection off behind some bytes.
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

func put(t testing.TB, bucket *blob.Bucket, key string, content []byte) {
	t.Helper()
	if err := bucket.WriteAll(t.Context(), key, content, &blob.WriterOptions{ContentType: "text/plain", ContentEncoding: "gzip"}); err != nil {
		t.Fatal(err)
	}
}

// bucketKeys lists an archive of one bucket.
func bucketKeys(t testing.TB, o archive.Options, locations ...string) []string {
	t.Helper()
	found, err := keys(t, open(t, o, locations...), "s3://logs")
	if err != nil {
		t.Error(err)
	}
	return found
}

func TestS3(t *testing.T) {
	s3 := archivetest.StartS3(t, "logs", "empty")
	seen, proxied := observe(t, s3)
	bucket := s3.Bucket(t, "logs")

	t.Run("archive", func(t *testing.T) {
		made := archivetest.Generate(archivetest.Options{Now: now})
		made.Upload(t, bucket, "all/of it/")
		for _, at := range []string{"all/of it", "all/of it/", "all", "", "all/of it/segment-logs"} {
			g := readAll(t, open(t, archive.Options{}, s3.URL("logs", at)), archive.ReadOptions{})
			check(t, made, g, "s3://logs/all/of it/")
		}
		for _, file := range made.Files {
			if !file.Log {
				continue
			}
			if got := bucketKeys(t, archive.Options{}, s3.URL("logs", "all/of it/"+file.Key)); !slices.Equal(got, []string{"all/of it/" + file.Key}) {
				t.Errorf("a named object: %q", got)
			}
		}
	})

	t.Run("prune", func(t *testing.T) {
		for _, source := range []string{"src1", "src2", "src3"} {
			for i := range 5 {
				put(t, bucket, "pruned/segment-logs/"+source+"/"+millis(monday.AddDate(0, 0, i))+"/1.gz", zipped(t, "a\n"))
			}
		}
		put(t, bucket, "pruned/other/1.gz", zipped(t, "a\n"))
		a := open(t, archive.Options{From: tuesday, To: wednesday, Sources: []string{"src1", "src3"}}, proxied.URL("logs", "pruned"))
		seen.reset(0, 0)
		var got []string
		for o, err := range a.Objects(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimPrefix(o.Key, "s3://logs/pruned/segment-logs/"))
		}
		want := []string{"src1/" + millis(tuesday) + "/1.gz", "src3/" + millis(tuesday) + "/1.gz", "src1/" + millis(wednesday) + "/1.gz", "src3/" + millis(wednesday) + "/1.gz"}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		requests := []string{"pruned/segment-logs/", "pruned/", "pruned/segment-logs/", "pruned/segment-logs/src1/", "pruned/segment-logs/src3/"}
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
					if err := bucket.WriteAll(t.Context(), fmt.Sprintf("many/segment-logs/src1/%s/%05d.gz", millis(monday), i), []byte(fmt.Sprintln(i)), nil); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		workers.Wait()
		seen.reset(0, 0)
		g := readAll(t, open(t, archive.Options{}, proxied.URL("logs", "many")), archive.ReadOptions{})
		for i, key := range g.keys {
			if !strings.HasSuffix(key, fmt.Sprintf("/%05d.gz", i)) || !slices.Equal(g.lines[key], []string{fmt.Sprint(i)}) || g.fault[key] != nil {
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
			for o, err := range open(t, archive.Options{}, s3.URL("logs", at)).Objects(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				v = o.Version
			}
			return v
		}
		put(t, bucket, "version/1.gz", []byte("one\n"))
		first := version("version/")
		if named := version("version/1.gz"); named != first || first == "" || strings.Contains(first, `"`) {
			t.Errorf("listed as %q, named as %q", first, named)
		}
		a := open(t, archive.Options{}, s3.URL("logs", "version/1.gz"))
		put(t, bucket, "version/1.gz", []byte("two\n"))
		if second := version("version"); second == first {
			t.Errorf("still %q", second)
		}
		put(t, bucket, "version/1.gz", []byte("three\n"))
		const key = "s3://logs/version/1.gz"
		if g := readAll(t, a, archive.ReadOptions{}); !errors.Is(g.fault[key], archive.ErrChanged) {
			t.Errorf("an object that has changed: %q, %v", g.lines[key], g.fault[key])
		}
	})

	t.Run("broken off", func(t *testing.T) {
		var log bytes.Buffer
		if _, _, err := archivetest.WriteLog(&log, 3<<20, 1); err != nil {
			t.Fatal(err)
		}
		put(t, bucket, "broken/plain.ndjson", log.Bytes())
		put(t, bucket, "broken/packed.gz", zipped(t, log.String()))
		for _, name := range []string{"plain.ndjson", "packed.gz"} {
			key := "s3://logs/broken/" + name
			seen.reset(2, 100_000)
			g := readAll(t, open(t, archive.Options{}, proxied.URL("logs", "broken/"+name)), archive.ReadOptions{})
			if g.fault[key] != nil || !slices.Equal(g.lines[key], naive(log.String())) {
				t.Errorf("%s, broken off twice: %d lines, %v", name, len(g.lines[key]), g.fault[key])
			}
			if len(seen.opened) != 3 || !strings.Contains(seen.opened[2], "bytes=") {
				t.Errorf("%s: opened %q", name, seen.opened)
			}
			seen.reset(100, 30_000)
			g = readAll(t, open(t, archive.Options{}, proxied.URL("logs", "broken/"+name)), archive.ReadOptions{})
			if !errors.Is(g.fault[key], io.ErrUnexpectedEOF) || errors.Is(g.fault[key], archive.ErrTruncated) || len(g.lines[key]) == 0 {
				t.Errorf("%s, always broken off: %d lines, %v", name, len(g.lines[key]), g.fault[key])
			}
		}
	})

	t.Run("nothing there", func(t *testing.T) {
		for at, says := range map[string]string{s3.URL("logs", "nothing"): "s3://logs/nothing", s3.URL("empty", ""): "s3://empty/"} {
			if _, err := archive.Open(t.Context(), []string{at}, archive.Options{}); !errors.Is(err, archive.ErrNothing) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", at, err)
			}
		}
		if _, err := archive.Open(t.Context(), []string{s3.URL("no-such-bucket", "")}, archive.Options{}); err == nil || !strings.Contains(err.Error(), "s3://no-such-bucket") {
			t.Errorf("no bucket: %v", err)
		}
		if _, err := archive.Open(t.Context(), []string{s3.URL("logs", ""), proxied.URL("logs", "")}, archive.Options{}); !errors.Is(err, archive.ErrLocation) {
			t.Errorf("two servers: %v", err)
		}
	})

	t.Run("by the environment alone", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL", s3.Endpoint)
		if got := bucketKeys(t, archive.Options{}, "s3://logs/broken"); len(got) != 2 {
			t.Errorf("%q", got)
		}
	})

	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := open(t, archive.Options{}, s3.URL("logs", "")).Read(ctx, archive.ReadOptions{})
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
