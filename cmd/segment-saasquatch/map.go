package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/mapping"
)

// maxLine bounds a line, or an event, of input in bytes.
const maxLine = archive.MaxLine

func (p *program) mapCommand() *cobra.Command {
	var file, connection, now string
	cmd := command("map [SOURCE…|-]", "Show the results of the mapping, and send nothing", `
Map reads events as replay does: one JSON object a line, arrays, and objects over
several lines, compressed or not, in files, directories and buckets. It writes a line
of JSON for each event, in their order:

  {"result":"event","requests":[…request body…],"warnings":[…]}
  {"result":"event","requests":[…],"user":{"ensure":"always","request":{…}},"warnings":[…]}
  {"result":"upsert","requests":[…request bodies…],"warnings":[…]}
  {"result":"skip","reason":…,"detail":…}
  {"result":"reject","reason":…,"detail":…}

By default a missing user is created by its ids. If users.from_track or
users.from_track_body says otherwise, an event has the member user: ensure is never,
missing or always, and request is the body that upserts the user.

Map ignores blank lines. A line or an event has at most 10 MiB. Without a source, or
for -, map reads standard input.

Exit codes: 0 whatever the results are, 1 a source could not be read to its end,
2 wrong command line or configuration, 130 interrupted.`)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		mapper, err := p.loadMapper(file, connection)
		if err != nil {
			return err
		}
		clock := time.Now
		if now != "" {
			at, err := time.Parse(time.RFC3339, now)
			if err != nil {
				return fmt.Errorf("--now %q: want a time such as 2026-11-01T00:00:00Z", now)
			}
			clock = func() time.Time { return at }
		}
		if len(files) == 0 {
			files = []string{"-"}
		}
		out := bufio.NewWriterSize(p.stdout, 64<<10)
		var faults []error
		for _, name := range files {
			faults = append(faults, p.mapSource(cmd.Context(), name, mapper, clock, out))
		}
		if err := errors.Join(faults...); err != nil {
			return ended(cmd.Context(), err)
		}
		return nil
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "config", "", "use the rules of this configuration `file` (default: the built-in rules)")
	flags.StringVar(&connection, "connection", "", "use the rules of the connection `name` (default: the only one)")
	flags.StringVar(&now, "now", "", "map as if this RFC 3339 `time` were the present (default: the current time)")
	return cmd
}

// loadMapper returns the mapper of a connection of the configuration file.
func (p *program) loadMapper(file, name string) (*mapping.Mapper, error) {
	cfg, err := config.Load(config.Source{File: file})
	if err != nil {
		return nil, err
	}
	if err := cfg.ValidateMapping(); err != nil {
		return nil, err
	}
	conn, err := pickConnection(cfg, name)
	if err != nil {
		return nil, err
	}
	return mapping.New(conn.Mapping)
}

// mapSource maps the events of one source.
func (p *program) mapSource(
	ctx context.Context, name string, mapper *mapping.Mapper, now func() time.Time, out *bufio.Writer,
) error {
	opened, err := archive.Open(ctx, []string{name}, archive.Options{Stdin: p.stdin})
	if err != nil {
		return err
	}
	// A line that is typed at a terminal has its result at once.
	reader := opened.Read(ctx, archive.ReadOptions{Ahead: 1, Prompt: true})
	err = mapBlocks(ctx, reader, mapper, now, out)
	return errors.Join(err, reader.Close(), opened.Close())
}

// mapBlocks maps all lines until ctx ends. It goes on after a damaged object, and returns all errors, joined.
func mapBlocks(
	ctx context.Context, reader *archive.Reader, mapper *mapping.Mapper, now func() time.Time, out *bufio.Writer,
) error {
	var faults []error
	var text []byte
	for {
		if ctx.Err() != nil {
			return errors.Join(append(faults, ctx.Err())...)
		}
		block, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return errors.Join(faults...)
		case err != nil:
			return errors.Join(append(faults, err)...)
		}
		for line := range block.Lines() {
			result := mapping.Result{
				Kind: mapping.KindReject, Reason: mapping.RejectInvalidJSON, Detail: "the line is longer than 10 MiB",
			}
			if !line.TooLong {
				result = mapper.MapWith(line.Text, now(), mapping.Options{Done: ctx.Done()})
			}
			if result.Kind == mapping.KindUnfinished {
				break // ctx has ended, and the next turn of the loop returns its error
			}
			text = append(result.AppendJSON(text[:0]), '\n')
			if _, err = out.Write(text); err != nil {
				break
			}
		}
		if block.Err != nil {
			faults = append(faults, block.Err)
		}
		block.Release()
		if err = errors.Join(err, out.Flush()); err != nil {
			return errors.Join(append(faults, fmt.Errorf("write result: %w", err))...)
		}
	}
}
