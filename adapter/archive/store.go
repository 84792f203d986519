package archive

import (
	"context"
	"io"
	"iter"
)

// store is what has objects: the file system, a bucket, or standard input.
type store interface {
	// open opens an object.
	open(ctx context.Context, o Object) (io.ReadCloser, error)
	// identity returns what is the same for the same object or folder, however it
	// was named.
	identity(name string) string
}

// tree is a store that has folders: the file system or a bucket. The names of
// folders and objects are paths, or keys; a bucket's folders end in a slash, and its
// root is empty.
type tree interface {
	store
	// list yields what is directly in a folder, in the order of keys. After an
	// error it ends.
	list(ctx context.Context, folder string) iter.Seq2[entry, error]
	// holds reports whether a folder has a folder of that name directly below.
	holds(ctx context.Context, folder, name string) (bool, error)
	// below names a folder directly below another.
	below(folder, name string) string
	// shown returns the name that people know a folder by.
	shown(folder string) string
	// path returns a folder's or an object's path from the root, which has slashes.
	path(name string) string
}

// entry is what a listing shows.
type entry struct {
	name      string // within its folder
	folder    bool
	irregular bool   // a file that is not regular: a pipe, a socket, a device
	object    Object // unless it is a folder
}
