package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

const (
	// listTimeout bounds the request for one page of a listing, with its retries.
	listTimeout = 2 * time.Minute
	// pageSize is how many objects a page has: the most that S3 and Google Cloud Storage return.
	pageSize = 1000
)

// cloud is the API of one bucket. The lists of a [page] are each in the order of keys.
type cloud interface {
	list(ctx context.Context, q query) (page, error)
	// read opens an object at an offset. The caller closes the body.
	read(ctx context.Context, key string, offset int64) (answer, error)
	// close drops idle connections.
	close()
}

// query asks for one page of the keys that begin with a prefix.
type query struct {
	prefix string
	// delimiter folds the keys that have it behind the prefix into one folder. Empty: no folders.
	delimiter string
	token     string // of the page, empty for the first
	size      int
}

type page struct {
	objects []listed
	folders []string // keys up to the delimiter, included
	next    string   // token of the next page, empty if there is none
}

type listed struct {
	key string
	identity
}

// identity tells whether an object is still the one that was listed.
type identity struct {
	// tag changes with the content: an ETag, or Google's generation. Empty if not known.
	tag string
	// size is in bytes as stored, -1 if not known.
	size int64
	// modified is the time of the last change, zero if not known.
	modified time.Time
}

// is reports whether two identities can be of the same content.
func (i identity) is(other identity) bool {
	if i.size >= 0 && other.size >= 0 && i.size != other.size {
		return false
	}
	if i.tag != "" && other.tag != "" {
		return i.tag == other.tag
	}
	// A listing has milliseconds, the answer to a request whole seconds.
	return i.modified.IsZero() || other.modified.IsZero() || i.modified.Unix() == other.modified.Unix()
}

func (i identity) version() string {
	return cmp.Or(i.tag, strconv.FormatInt(i.modified.UnixMilli(), 10)) + "-" + strconv.FormatInt(i.size, 10)
}

// unquoted returns an ETag as listings and answers have in common.
func unquoted(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }

// answer is an object that was opened at an offset.
type answer struct {
	identity
	body io.ReadCloser
}

// errNoRange says that a server has no ranges, without which an object cannot be resumed.
var errNoRange = errors.New("the server sends the object from its start, not from the offset")

// newAnswer returns an answer at an offset. Its length and range are those of the response.
func newAnswer(body io.ReadCloser, offset, length int64, contentRange string, i identity) (answer, error) {
	i.size = length
	if contentRange != "" {
		_, total, _ := strings.Cut(contentRange, "/") // bytes 10-14/27
		var err error
		if i.size, err = strconv.ParseInt(total, 10, 64); err != nil {
			i.size = -1
		}
	} else if offset > 0 {
		_ = body.Close() // it is not read
		return answer{}, errNoRange
	}
	return answer{identity: i, body: body}, nil
}

// clouds are the openers of buckets by scheme.
var clouds = map[string]func(ctx context.Context, name string, s *settings) (cloud, error){
	"s3": openS3, "gs": openGoogle, "azblob": openAzure,
}

// bucket is a bucket of a cloud as a tree.
type bucket struct {
	url   string // scheme://name
	query string
	cloud cloud
}

func openBucket(ctx context.Context, scheme, name, query string) (*bucket, error) {
	b := &bucket{url: scheme + "://" + name, query: query}
	s, err := parseSettings(query)
	if err == nil {
		b.cloud, err = clouds[scheme](ctx, name, s)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", b.url, err)
	}
	return b, nil
}

func (b *bucket) list(ctx context.Context, folder string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for p, err := range b.pages(ctx, query{prefix: folder, delimiter: "/", size: pageSize}) {
			if err != nil {
				yield(entry{}, err)
				return
			}
			entries := make([]entry, 0, len(p.folders)+len(p.objects))
			for _, key := range p.folders {
				name := strings.TrimSuffix(strings.TrimPrefix(key, folder), "/")
				entries = append(entries, entry{name: name, folder: true})
			}
			for _, l := range p.objects {
				entries = append(entries, entry{name: strings.TrimPrefix(l.key, folder), object: b.object(l)})
			}
			slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.sortedBy(), b.sortedBy()) })
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// sortedBy returns the end of the key that a bucket lists an entry by.
func (e entry) sortedBy() string {
	if e.folder {
		return e.name + "/"
	}
	return e.name
}

// pages yields the pages of a query. After an error it ends.
func (b *bucket) pages(ctx context.Context, q query) iter.Seq2[page, error] {
	return func(yield func(page, error) bool) {
		for {
			p, err := b.page(ctx, q)
			if err != nil {
				yield(page{}, fmt.Errorf("list %s/%s: %w", b.url, q.prefix, err))
				return
			}
			if !yield(p, nil) || p.next == "" {
				return
			}
			q.token = p.next
		}
	}
}

func (b *bucket) page(ctx context.Context, q query) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return b.cloud.list(ctx, q)
}

// first returns the first object whose key has a prefix, false if there is none.
func (b *bucket) first(ctx context.Context, prefix string) (listed, bool, error) {
	for p, err := range b.pages(ctx, query{prefix: prefix, size: 1}) {
		if err != nil {
			return listed{}, false, err
		}
		if len(p.objects) > 0 { // a page may be empty and have a next one
			return p.objects[0], true, nil
		}
	}
	return listed{}, false, nil
}

// object returns a listed object.
func (b *bucket) object(l listed) Object {
	return Object{
		Key: b.url + "/" + l.key, Version: l.version(), Size: l.size,
		store: b, name: l.key, tag: l.tag, modified: l.modified,
	}
}

func (b *bucket) holds(ctx context.Context, folder, name string) (bool, error) {
	return b.any(ctx, b.below(folder, name))
}

// any reports whether any key has a prefix.
func (b *bucket) any(ctx context.Context, prefix string) (bool, error) {
	_, found, err := b.first(ctx, prefix)
	return found, err
}

// find returns the object of a key, false if there is none.
func (b *bucket) find(ctx context.Context, key string) (Object, bool, error) {
	// A listing gives the object the same Version as the listing of its folder does. A key comes
	// before all others that begin with it.
	l, found, err := b.first(ctx, key)
	if !found || l.key != key {
		return Object{}, false, err
	}
	return b.object(l), true, nil
}

func (b *bucket) below(folder, name string) string { return folder + name + "/" }
func (b *bucket) shown(folder string) string       { return b.url + "/" + folder }
func (b *bucket) path(name string) string          { return name }
func (b *bucket) identity(name string) string      { return b.url + "/" + name }

func (b *bucket) open(ctx context.Context, o Object) (io.ReadCloser, error) {
	return newResuming(ctx, b.cloud, o)
}

// isLasting reports whether opening an object again cannot help.
func isLasting(err error) bool {
	switch statusOf(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone,
		http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return true
	}
	return errors.Is(err, ErrChanged) || errors.Is(err, errNoRange)
}

// statusOf returns the HTTP status that an error stands for, 0 if for none.
func statusOf(err error) int {
	var (
		aws    interface{ HTTPStatusCode() int }
		azure  *azcore.ResponseError
		google *googleError
	)
	switch {
	case errors.As(err, &aws):
		return aws.HTTPStatusCode()
	case errors.As(err, &azure):
		return azure.StatusCode
	case errors.As(err, &google):
		return google.status
	}
	return 0
}
