package main

import (
	"context"
	"errors"
	"fmt"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/replay/importjob"
	"segment-saasquatch/adapter/saasquatch"
)

// importRun replays by import jobs.
func (r *replaying) importRun(
	ctx context.Context, replays adapter.RunStore, run *adapter.Run, objects []adapter.ObjectProgress,
	blocks replay.Blocks, opts replay.Options,
) error {
	imports, ok := replays.(adapter.ImportStore)
	if !ok {
		return errors.New("an import job needs the store itself: leave out --server")
	}
	importer, err := saasquatch.NewImporter(clientOptions(r.conn))
	if err != nil {
		return err
	}
	cfg := r.service.cfg
	return importjob.Run(ctx, imports, run, objects, importer, blocks, importjob.Options{
		Options: opts, Horizon: cfg.RetryHorizon, UnkeyedDead: cfg.UnkeyedAmbiguous == config.UnkeyedDead,
	})
}

// writeFiles writes the files for import jobs, and sends nothing.
func (r *replaying) writeFiles(ctx context.Context) error {
	var written *replay.Written
	err := r.looking(ctx, func(blocks replay.Blocks, opts replay.Options) (err error) {
		written, err = replay.WriteFiles(ctx, r.spec, blocks, r.flags.out, opts, replay.FileLimits{})
		return err
	})
	if written == nil || err != nil && ctx.Err() == nil {
		return err
	}
	report := written.Report(0)
	report.DryRun, report.Requests, report.Files, report.Interrupted = false, 0, written.Files, err != nil
	return r.conclude(report)
}

// conclude prints the report of a replay that leaves no run, and returns how it ended.
func (r *replaying) conclude(report *replay.Report) error {
	if err := r.report(report); err != nil {
		return failed(err)
	}
	switch {
	case report.Interrupted:
		return errInterrupted
	case len(report.Faults) > 0:
		return failed(damaged(report, ""))
	case report.Failed() > 0 && r.flags.failedFile != "":
		return failed(fmt.Errorf("%d events are rejected: %s has them", report.Failed(), r.flags.failedFile))
	case report.Failed() > 0:
		return failed(fmt.Errorf("%d events are rejected: --failures FILE writes them", report.Failed()))
	}
	return nil
}
