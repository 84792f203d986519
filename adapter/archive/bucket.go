package archive

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"
)

const (
	// listTimeout bounds the request for one page of a listing, with its repetitions.
	listTimeout = 2 * time.Minute
	// pageSize is how many objects a page has: what S3 gives at most.
	pageSize = 1000
)

// bucket is a bucket of a cloud.
type bucket struct {
	url    string // scheme://name
	query  string
	bucket *blob.Bucket
}

func openBucket(ctx context.Context, url, query string) (*bucket, error) {
	full := url
	if query != "" {
		full += "?" + query
	}
	opened, err := blob.OpenBucket(ctx, full)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", url, err)
	}
	return &bucket{url: url, query: query, bucket: opened}, nil
}

func (b *bucket) list(ctx context.Context, folder string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		token := blob.FirstPageToken
		for len(token) > 0 {
			page, next, err := b.page(ctx, token, pageSize, &blob.ListOptions{Prefix: folder, Delimiter: "/"})
			if err != nil {
				yield(entry{}, fmt.Errorf("list %s/%s: %w", b.url, folder, err))
				return
			}
			for _, listed := range page {
				name := strings.TrimPrefix(listed.Key, folder)
				e := entry{name: strings.TrimSuffix(name, "/"), folder: listed.IsDir}
				if !listed.IsDir {
					e.name = name
					e.object = b.object(listed)
				}
				if !yield(e, nil) {
					return
				}
			}
			token = next
		}
	}
}

func (b *bucket) page(ctx context.Context, token []byte, size int, o *blob.ListOptions) ([]*blob.ListObject, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return b.bucket.ListPage(ctx, token, size, o)
}

// object returns a listed object.
func (b *bucket) object(listed *blob.ListObject) Object {
	o := Object{Key: b.url + "/" + listed.Key, Size: listed.Size, store: b, name: listed.Key, modified: listed.ModTime}
	var (
		s3     types.Object
		google storage.ObjectAttrs
		azure  container.BlobItem
		tag    string
	)
	switch {
	case listed.As(&s3) && s3.ETag != nil:
		tag = *s3.ETag
	case listed.As(&google):
		// Its ETag, and the time of the last update, change with the metadata too.
		tag = strconv.FormatInt(google.Generation, 10)
		o.modified = time.Time{}
	case listed.As(&azure) && azure.Properties != nil && azure.Properties.ETag != nil:
		tag = string(*azure.Properties.ETag)
	default:
		tag = strconv.FormatInt(listed.ModTime.UnixMilli(), 10)
	}
	o.Version = strings.Trim(tag, `"`) + "-" + strconv.FormatInt(listed.Size, 10)
	return o
}

func (b *bucket) holds(ctx context.Context, folder, name string) (bool, error) {
	return b.any(ctx, b.below(folder, name))
}

// any reports whether any key has a prefix.
func (b *bucket) any(ctx context.Context, prefix string) (bool, error) {
	page, _, err := b.page(ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: prefix})
	if err != nil {
		return false, fmt.Errorf("list %s/%s: %w", b.url, prefix, err)
	}
	return len(page) > 0, nil
}

// find returns the object of a key, false if there is none.
func (b *bucket) find(ctx context.Context, key string) (Object, bool, error) {
	// It is listed, so that its Version is the same as in a folder's listing.
	page, _, err := b.page(ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: key})
	if err != nil {
		return Object{}, false, fmt.Errorf("list %s/%s: %w", b.url, key, err)
	}
	// A key is in front of all others that begin with it.
	if len(page) == 0 || page[0].Key != key {
		return Object{}, false, nil
	}
	return b.object(page[0]), true, nil
}

func (b *bucket) below(folder, name string) string { return folder + name + "/" }
func (b *bucket) shown(folder string) string       { return b.url + "/" + folder }
func (b *bucket) path(name string) string          { return name }
func (b *bucket) identity(name string) string      { return b.url + "/" + name }

func (b *bucket) open(ctx context.Context, o Object) (io.ReadCloser, error) {
	return newResuming(ctx, b.bucket, o)
}

// openAt opens an object from an offset.
func openAt(ctx context.Context, from *blob.Bucket, key string, offset int64) (*blob.Reader, error) {
	return from.NewRangeReader(ctx, key, offset, -1, &blob.ReaderOptions{BeforeRead: func(as func(any) bool) error {
		// Google Cloud Storage unpacks what is stored with Content-Encoding: gzip
		// unless it is told not to: an offset would then mean nothing.
		var handle **storage.ObjectHandle
		if as(&handle) {
			*handle = (*handle).ReadCompressed(true)
		}
		return nil
	}})
}

// isLasting reports whether opening an object again cannot make it better.
func isLasting(err error) bool {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound, gcerrors.PermissionDenied, gcerrors.InvalidArgument, gcerrors.FailedPrecondition, gcerrors.Unimplemented:
		return true
	}
	return false
}
