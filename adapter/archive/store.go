package archive

import (
	"context"
	"io"
	"iter"
)

// store holds objects: the file system, a bucket, or standard input.
type store interface {
	// open opens an object.
	open(ctx context.Context, o Object) (io.ReadCloser, error)
	// identity returns a name that is the same for the same object or folder, however a location
	// spells it.
	identity(name string) string
}

// tree is a store with folders: the file system or a bucket. The names of folders and objects are
// paths or keys. The folders of a bucket end in a slash, and its root is empty.
type tree interface {
	store
	// list yields the entries directly in a folder, in the order of keys. After an error it ends.
	list(ctx context.Context, folder string) iter.Seq2[entry, error]
	// holds reports whether a folder directly contains a folder of that name.
	holds(ctx context.Context, folder, name string) (bool, error)
	// below names a folder directly below another.
	below(folder, name string) string
	// shown returns the display name of a folder.
	shown(folder string) string
	// path returns the path of a folder or object from the root, with slashes.
	path(name string) string
}

// entry is one entry of a listing.
type entry struct {
	name      string // within its folder
	folder    bool
	irregular bool   // a file that is not regular: a pipe, a socket, a device
	object    Object // unless it is a folder
}
