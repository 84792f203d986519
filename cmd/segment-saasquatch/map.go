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
	cmd := &cobra.Command{
		Use:   "map [SOURCE…|-]",
		Short: "Show what the mapping makes of events, without sending anything",
		Long: `Map reads events as replay reads them: one JSON object a line, arrays, and objects
over several lines, packed or not, in files, directories and buckets. It writes one
line of JSON for each, in their order:

  {"result":"event","requests":[…request body…],"warnings":[…]}
  {"result":"event","requests":[…],"user":{"ensure":"always","request":{…}},"warnings":[…]}
  {"result":"upsert","requests":[…request bodies…],"warnings":[…]}
  {"result":"skip","reason":…,"detail":…}
  {"result":"reject","reason":…,"detail":…}

An event has the member user where users.from_track and users.from_track_body do not
leave it at creating a missing user by its ids: ensure is never, missing or always,
and request is the body that upserts the user.

Blank lines are passed over. A line, or an event, may have 10 MiB. Without a source,
or for -, it reads standard input. It exits with 0 whatever it makes of the events,
with 1 if something could not be read to its end, and with 130 if it is interrupted.`,
		RunE: func(cmd *cobra.Command, files []string) error {
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
				return endOf(cmd.Context(), err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` whose mapping rules to use (default: the built-in rules)")
	cmd.Flags().StringVar(&connection, "connection", "", "`name` of the connection whose rules to use, if the file has several")
	cmd.Flags().StringVar(&now, "now", "", "`time` to map at, RFC 3339 (default: the current time)")
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
	if name == "" && len(cfg.Connections) > 1 {
		return nil, fmt.Errorf("%s has %d connections: name one with --connection", file, len(cfg.Connections))
	}
	for i := range cfg.Connections {
		if name == "" || cfg.Connections[i].Name == name {
			return mapping.New(cfg.Connections[i].Mapping)
		}
	}
	return nil, fmt.Errorf("--connection %q: the configuration has no such connection", name)
}

// mapSource maps the events of one source, as replay reads it.
func (p *program) mapSource(
	ctx context.Context, name string, mapper *mapping.Mapper, now func() time.Time, out *bufio.Writer,
) error {
	opened, err := archive.Open(ctx, []string{name}, archive.Options{Stdin: p.stdin})
	if err != nil {
		return err
	}
	// Each line that a person types is answered at once.
	reader := opened.Read(ctx, archive.ReadOptions{Ahead: 1, Prompt: true})
	err = mapBlocks(ctx, reader, mapper, now, out)
	return errors.Join(err, reader.Close(), opened.Close())
}

// mapBlocks maps all lines until ctx ends. What is wrong with objects it returns at the
// end, joined.
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
			result := mapping.Result{Kind: mapping.KindReject, Reason: mapping.RejectInvalidJSON, Detail: "the line is longer than 10 MiB"}
			if !line.TooLong {
				result = mapper.MapWith(line.Text, now(), mapping.Options{Done: ctx.Done()})
			}
			if result.Kind == mapping.KindUnfinished {
				break // ctx has ended, which is told instead of the next block
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
