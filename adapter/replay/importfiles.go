package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"segment-saasquatch/mapping"
)

// Written is what WriteFiles has done.
type Written struct {
	Counted
	// Files are the files, in their order.
	Files []string
}

// WriteFiles writes the events of the blocks as lines of SaaSquatch's user event
// import into new files events-0001.jsonl, events-0002.jsonl and so on in dir,
// which it makes if need be. Nothing is sent, and no store learns of it. Duplicates
// are those that the look finds, and those within the archive. A file takes its
// name when it is complete; if one of the names is taken, that is an error before
// anything is written.
func WriteFiles(ctx context.Context, look *LookUp, spec *Spec, blocks Blocks, dir string, opts ImportOptions) (*Written, error) {
	opts = opts.withDefaults()
	opts.Ledger = look
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	if taken, _ := filepath.Glob(filepath.Join(dir, "events-*.jsonl")); len(taken) > 0 {
		return nil, fmt.Errorf("%s is there already: name an empty directory, or remove it", taken[0])
	}
	w := &writing{
		counting: counting{Options: opts.Options, spec: spec, counts: newCounts(), outcomes: make(tallies), fresh: newFresh(look)},
		dir:      dir, maxLines: opts.MaxLines, maxBytes: opts.MaxBytes,
	}
	w.send = w.write
	err := opts.newPipeline(spec, blocks).run(ctx, w.take)
	if errors.Is(err, errLimit) {
		err = nil
	}
	if err == nil {
		err = w.finish()
	} else {
		err = errors.Join(err, w.abandon())
	}
	return &Written{Counted: Counted{Counts: *w.counts, Outcomes: w.outcomes.list(), Faults: w.faults}, Files: w.files}, err
}

// writing writes what is counted.
type writing struct {
	counting
	dir      string
	maxLines int
	maxBytes int64

	files []string
	file  *os.File // nil between files
	out   *bufio.Writer
	lines int
	bytes int64
	line  []byte
}

// write writes the line of an event.
func (w *writing) write(mapped *mapping.Result) error {
	w.line = append(mapped.UserEvent.AppendImportLine(w.line[:0]), '\n')
	if w.file != nil && (w.lines == w.maxLines || w.bytes+int64(len(w.line)) > w.maxBytes) {
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

func (w *writing) begin() (err error) {
	name := filepath.Join(w.dir, fmt.Sprintf("events-%04d.jsonl", len(w.files)+1))
	// A new file of a random name: what is in the directory is neither followed nor
	// overwritten.
	if w.file, err = os.CreateTemp(w.dir, ".events-*.partial"); err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	if err := w.file.Chmod(0o640); err != nil {
		return errors.Join(fmt.Errorf("make a file: %w", err), w.file.Close(), os.Remove(w.file.Name()))
	}
	w.files = append(w.files, name)
	w.lines, w.bytes = 0, 0
	if w.out == nil {
		w.out = bufio.NewWriterSize(nil, 1<<20)
	}
	w.out.Reset(w.file)
	return nil
}

// finish completes the file under way, if there is one.
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

// abandon removes the file under way.
func (w *writing) abandon() error {
	if w.file == nil {
		return nil
	}
	w.files = w.files[:len(w.files)-1]
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}
