package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/replay"
)

const (
	// totalPatience is how long a dry run waits for the size of the archive. Without it no
	// note is written: a bucket with millions of objects takes minutes to list.
	totalPatience = 5 * time.Second
	// notedMemory is how much memory is worth a note, in bytes.
	notedMemory = 100_000_000
)

// noteMemory says how much memory it may take to tell the events of an archive apart,
// before it is read.
func noteMemory(ctx context.Context, out io.Writer, opened *archive.Archive, limit int64) {
	ctx, cancel := context.WithTimeout(ctx, totalPatience)
	defer cancel()
	total, err := opened.Total(ctx)
	if err != nil {
		return // reading meets it too
	}
	if note := memoryNote(total, limit); note != "" {
		fmt.Fprintln(out, note)
	}
}

// memoryNote returns the note, empty if it is not worth one.
func memoryNote(total archive.Total, limit int64) string {
	memory := replay.SeenMemory(total.Bytes, limit)
	if memory < notedMemory {
		return ""
	}
	return fmt.Sprintf("note: the archive has %.1f GB; to tell its events apart may take %.1f GB of memory, "+
		"27 bytes for each event that would be sent; --from, --to, --source or --limit make it less",
		float64(total.Bytes)/1e9, float64(memory)/1e9)
}
