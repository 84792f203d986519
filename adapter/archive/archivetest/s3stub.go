package archivetest

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ServeS3 serves objects, by key, from one bucket: listings in pages, and objects with ranges.
// Tests use it where no gateway is installed. Like [StartS3] it sets the credentials in the
// environment. It ends with the test.
func ServeS3(t testing.TB, bucket string, objects map[string][]byte) *Server {
	t.Helper()
	stub := &s3Stub{bucket: bucket, objects: objects, modified: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	server := httptest.NewServer(stub)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	setCredentials(t)
	return &Server{Scheme: "s3", Endpoint: server.URL}
}

type s3Stub struct {
	bucket   string
	objects  map[string][]byte
	modified time.Time
}

func (s *s3Stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	content, found := s.objects[key]
	switch {
	case bucket != s.bucket || r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "<Error><Code>NoSuchBucket</Code></Error>", http.StatusNotFound)
	case key == "":
		s.list(w, r)
	case !found:
		http.Error(w, "<Error><Code>NoSuchKey</Code></Error>", http.StatusNotFound)
	default:
		w.Header().Set("ETag", tagOf(content))
		http.ServeContent(w, r, "", s.modified, bytes.NewReader(content))
	}
}

func tagOf(content []byte) string {
	sum := md5.Sum(content)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// listing is the answer to ListObjectsV2.
type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Contents              []listed
	CommonPrefixes        []commonPrefix
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	KeyCount              int
}

type listed struct {
	Key, ETag    string
	LastModified time.Time
	Size         int
}

type commonPrefix struct{ Prefix string }

func (s *s3Stub) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	prefix, delimiter, after := query.Get("prefix"), query.Get("delimiter"), query.Get("continuation-token")
	most, err := strconv.Atoi(query.Get("max-keys"))
	if err != nil {
		most = 1000
	}
	var answer listing
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		name, inside := strings.CutPrefix(key, prefix)
		if !inside {
			continue
		}
		entry := key
		folder, _, isFolder := strings.Cut(name, delimiter)
		if isFolder = isFolder && delimiter != ""; isFolder {
			entry = prefix + folder + delimiter
		}
		if entry <= after {
			continue
		}
		if answer.KeyCount == most {
			answer.IsTruncated = true
			break
		}
		answer.KeyCount++
		after, answer.NextContinuationToken = entry, entry
		if isFolder {
			answer.CommonPrefixes = append(answer.CommonPrefixes, commonPrefix{entry})
		} else {
			answer.Contents = append(answer.Contents, listed{key, tagOf(s.objects[key]), s.modified,
				len(s.objects[key])})
		}
	}
	if !answer.IsTruncated {
		answer.NextContinuationToken = ""
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(answer) // a client that has gone misses nothing
}
