package replay

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"segment-saasquatch/mapping"
)

// FileLimits limit a file of import lines. Default: 500 000 lines and 100 MB, which SaaSquatch publishes for its
// guides and for uploads by SFTP.
type FileLimits struct {
	MaxLines int
	MaxBytes int64
}

// WithDefaults returns the limits with a default in place of each zero.
func (l FileLimits) WithDefaults() FileLimits {
	return FileLimits{MaxLines: cmp.Or(l.MaxLines, 500_000), MaxBytes: cmp.Or(l.MaxBytes, 100_000_000)}
}

// Written is the result of WriteFiles.
type Written struct {
	Counted
	// Files are the names of the files, in order.
	Files []string
}

// WriteFiles writes the events of the blocks as lines of SaaSquatch's user event import, into new files
// events-0001.jsonl, events-0002.jsonl and so on. It makes dir if it is missing. It sends and stores nothing.
// Duplicates are those in opts.Ledger and those within the archive. A file gets its name when it is complete. If
// dir has such a file already, WriteFiles fails before it writes anything.
func WriteFiles(
	ctx context.Context, spec *Spec, blocks Blocks, dir string, opts Options, limits FileLimits,
) (*Written, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	if taken, _ := filepath.Glob(filepath.Join(dir, "events-*.jsonl")); len(taken) > 0 {
		return nil, fmt.Errorf("%s is there already: name an empty directory, or remove it", taken[0])
	}
	w := &writing{counting: newCounting(spec, opts), dir: dir, limits: limits.WithDefaults()}
	w.send = w.write
	err := w.newPipeline(spec, blocks).run(ctx, w.take)
	if err == nil {
		err = w.finish()
	} else {
		err = errors.Join(err, w.abandon())
	}
	return &Written{Counted: *w.counted(), Files: w.files}, err
}

// writing writes the events that it counts.
type writing struct {
	*counting
	dir    string
	limits FileLimits

	files []string
	file  *os.File // nil between files
	out   *bufio.Writer
	lines int
	bytes int64
	line  []byte
}

func (w *writing) write(mapped *mapping.Result) error {
	w.line = append(mapped.UserEvent.AppendImportLine(w.line[:0]), '\n')
	if w.file != nil && (w.lines == w.limits.MaxLines || w.bytes+int64(len(w.line)) > w.limits.MaxBytes) {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if w.file == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	w.lines++
	w.bytes += int64(len(w.line))
	_, err := w.out.Write(w.line)
	return err
}

// begin begins a file under a random name, which neither follows nor overwrites a file in the directory.
func (w *writing) begin() (err error) {
	name := filepath.Join(w.dir, fmt.Sprintf("events-%04d.jsonl", len(w.files)+1))
	if w.file, err = os.CreateTemp(w.dir, ".events-*.partial"); err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	if err := w.file.Chmod(0o640); err != nil {
		return errors.Join(fmt.Errorf("make a file: %w", err), w.file.Close(), os.Remove(w.file.Name()))
	}
	w.files = append(w.files, name)
	w.lines, w.bytes = 0, 0
	w.out = bufio.NewWriterSize(w.file, 1<<20)
	return nil
}

func (w *writing) finish() error {
	if w.file == nil {
		return nil
	}
	name, partial := w.files[len(w.files)-1], w.file.Name()
	err := errors.Join(w.out.Flush(), w.file.Sync(), w.file.Close())
	w.file = nil
	if err == nil {
		err = os.Rename(partial, name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (w *writing) abandon() error {
	if w.file == nil {
		return nil
	}
	w.files = w.files[:len(w.files)-1]
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}
