package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/replay"
)

func (p *program) replayListCommand() *cobra.Command {
	var server string
	var asJSON bool
	cmd := command("list", "List the replays in the store, newest first", `
List shows the runs in the store. replay --resume with the number of a run goes on
with it. To replay an archive with the name list, write ./list.`)
	f := p.addConfigFlags(cmd)
	cmd.Flags().StringVar(&server, "server", "", serverUsage)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON, one run a line")
	f.runs(func(cfg *config.Config, _ []string) error {
		opened, closer, err := openRuns(cmd.Context(), cfg, server)
		if err != nil {
			return err
		}
		runs, err := opened.Runs(cmd.Context())
		if err = errors.Join(err, closer.Close()); err != nil {
			return failed(err)
		}
		if asJSON {
			return failed(writeLines(p.stdout, runs))
		}
		return failed(p.printRuns(runs))
	})
	return cmd
}

func (p *program) printRuns(runs []adapter.Run) error {
	table := newTable(p.stdout)
	fmt.Fprintln(table, "RUN\tBEGUN (UTC)\tLAST PROGRESS (UTC)\tCONNECTION\tTENANT\tSTATE\tOUTCOMES\tSOURCES")
	for i := range runs {
		run := &runs[i]
		report, err := replay.ReportRun(run, nil)
		if err != nil {
			return err
		}
		spec, err := replay.ParseSpec(run.Spec)
		if err != nil {
			return err
		}
		state := "at its end"
		if report.Interrupted {
			state = "to be resumed"
			if !run.EndedAt.IsZero() {
				state = "events are pending"
			}
		}
		events := make(map[adapter.Outcome]int64)
		for _, tally := range run.Outcomes {
			events[tally.Outcome] += tally.Events
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			run.ID, run.StartedAt.Format(momentLayout), run.UpdatedAt.Format(momentLayout), run.Connection,
			orDash(adapter.TenantAlias(run.Tenant)), state, orDash(countsText(events, ", ")),
			plain(strings.Join(spec.Sources, " ")))
	}
	return table.Flush()
}
