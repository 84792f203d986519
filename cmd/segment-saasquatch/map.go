package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/mapping"
)

// maxLine bounds a line of input in bytes.
const maxLine = 10 << 20

func (p *program) mapCommand() *cobra.Command {
	var file, connection, now string
	cmd := &cobra.Command{
		Use:   "map [FILE…|-]",
		Short: "Show what the mapping makes of events, without sending anything",
		Long: `Map reads events, one JSON object a line, and writes one line of JSON for each, in
their order:

  {"result":"event","requests":[…request body…],"warnings":[…]}
  {"result":"event","requests":[…],"user":{"ensure":"always","request":{…}},"warnings":[…]}
  {"result":"upsert","requests":[…request bodies…],"warnings":[…]}
  {"result":"skip","reason":…,"detail":…}
  {"result":"reject","reason":…,"detail":…}

An event has the member user where users.from_track and users.from_track_body do not
leave it at creating a missing user by its ids: ensure is never, missing or always,
and request is the body that upserts the user.

Blank lines are passed over. A line may have 10 MiB. Without a file, or for -, it
reads standard input. It exits with 0 whatever it makes of the events.`,
		RunE: func(_ *cobra.Command, files []string) error {
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
			for _, name := range files {
				if err := p.mapFile(name, mapper, clock, out); err != nil {
					return failed(errors.Join(err, out.Flush()))
				}
			}
			return failed(out.Flush())
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

func (p *program) mapFile(name string, mapper *mapping.Mapper, now func() time.Time, out *bufio.Writer) error {
	in := p.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	lines := lineReader{in: bufio.NewReaderSize(in, 64<<10)}
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLineTooLong):
			result := mapping.Result{Kind: mapping.KindReject, Reason: mapping.RejectInvalidJSON, Detail: "the line is longer than 10 MiB"}
			line = result.AppendJSON(nil)
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		default:
			result := mapper.Map(line, now())
			line = result.AppendJSON(nil)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
		// Whoever feeds lines one by one sees the answer to each at once.
		if lines.in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return fmt.Errorf("write result: %w", err)
			}
		}
	}
}
