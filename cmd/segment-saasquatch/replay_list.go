package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/replay"
)

func (p *program) replayListCommand() *cobra.Command {
	var file, server string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the replays of the store, the newest first",
		Long: `List shows the runs that the store knows: with --resume their numbers go on with
them. To replay an archive that is called list, write ./list.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Source{File: file, Env: p.env, Flags: cmd.Flags()})
			if err != nil {
				return err
			}
			var runs []adapter.Run
			if server != "" {
				client, err := newServerClient(cfg, server)
				if err != nil {
					return err
				}
				if runs, err = client.Runs(cmd.Context()); err != nil {
					return failed(err)
				}
			} else {
				opened, err := openStore(cmd.Context(), cfg)
				if err != nil {
					return failed(err)
				}
				defer opened.Close()
				if runs, err = opened.Runs(cmd.Context()); err != nil {
					return failed(err)
				}
			}
			if asJSON {
				return failed(writeLines(p.stdout, runs))
			}
			return failed(p.printRuns(runs))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file`")
	cmd.Flags().StringVar(&server, "server", "", "`URL` of a server's admin address; ADMIN_TOKEN opens it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON, one run a line")
	config.RegisterFlags(cmd.Flags())
	return cmd
}

func (p *program) printRuns(runs []adapter.Run) error {
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
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
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", run.ID, run.StartedAt.Format(momentLayout), run.UpdatedAt.Format(momentLayout),
			run.Connection, orDash(adapter.TenantAlias(run.Tenant)), state, orDash(outcomesText(run.Outcomes)), plain(strings.Join(spec.Sources, " ")))
	}
	return table.Flush()
}

// outcomesText writes numbers of events by outcome on one line.
func outcomesText(tallies []adapter.Tally) string {
	sums := make(map[adapter.Outcome]int64)
	for _, tally := range tallies {
		sums[tally.Outcome] += tally.Events
	}
	var parts []string
	for _, outcome := range adapter.Outcomes {
		if n := sums[outcome]; n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	return strings.Join(parts, ", ")
}
