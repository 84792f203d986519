package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/replay/importjob"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
	"segment-saasquatch/mapping/jsonata"
)

func (p *program) replayCommand() *cobra.Command {
	cmd := command("replay SOURCE…", "Send the events of Segment archives", `
Replay sends the events of Segment's raw logs. A SOURCE is a file, a directory, a glob,
- for standard input, or a bucket: s3://bucket/prefix, gs://bucket/prefix,
azblob://container/prefix. A line is one event. Replay also reads arrays, and events over
several lines. It unpacks gzip and zstd.

Events go through the store that the configuration describes. An event that the store
has as delivered, live or by a replay, is a duplicate and is not sent again. After an
interruption or a crash, --resume goes on with a run.

Begin with --dry-run. The default, --via api, fires programs and rewards, whatever the
age of the events. --via import does not fire programs.`)
	cmd.Args = cobra.ArbitraryArgs
	f := p.addReplayFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := p.newReplaying(cmd.Context(), f, args)
		if err != nil {
			return err
		}
		defer r.close()
		if _, chosen := p.env("GOGC"); !chosen {
			debug.SetGCPercent(replayGCPercent)
		}
		return r.replay(cmd.Context())
	}
	cmd.AddCommand(p.replayListCommand())
	return cmd
}

// replayGCPercent keeps the heap of a replay small. Most of the heap is reused buffers, and a collection costs
// little compared with the decompression.
const replayGCPercent = 25

// replaying is one replay.
type replaying struct {
	*program
	flags   *replayFlags
	service *service
	conn    *config.Connection
	// connections are the names of all configured connections.
	connections []string
	mapper      *mapping.Mapper
	spec        *replay.Spec // from the flags, nil for a resumed run, which has its own
	began       time.Time
	watch       *replay.Progress

	passedOver []replay.PassedOver
	chosen     *replay.Chosen // nil if the run does not choose identify calls
	users      *replay.UserMatches
}

// newReplaying reads the flags and the configuration.
func (p *program) newReplaying(ctx context.Context, f *replayFlags, args []string) (r *replaying, err error) {
	now := time.Now()
	if err := f.check(args); err != nil {
		return nil, err
	}
	r = &replaying{program: p, flags: f, began: now, watch: &replay.Progress{}}
	if f.resume == 0 {
		if r.spec, err = f.spec(ctx, args, now); err != nil {
			return nil, err
		}
		if err := f.checkOutputs(r.spec.Sources); err != nil {
			return nil, err
		}
	}
	cfg, err := f.load()
	if err != nil {
		return nil, err
	}
	r.service = &service{program: p, cfg: cfg}
	if f.sandbox {
		if err := r.service.useSandbox(); err != nil {
			return nil, failed(err)
		}
	}
	if err := r.configure(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// configure validates the parts of the configuration that the replay needs, and picks the connection.
func (r *replaying) configure() (err error) {
	cfg := r.service.cfg
	if r.flags.dry || r.flags.out != "" || r.flags.server != "" {
		err = cfg.ValidateMapping()
	} else {
		err = cfg.ValidateSending()
	}
	if err != nil {
		return err
	}
	if r.conn, err = pickConnection(cfg, r.flags.connection); err != nil {
		return err
	}
	r.connections = connectionNames(cfg)
	if r.flags.concurrency > 0 {
		r.conn.SaaSquatch.Concurrency = r.flags.concurrency
	}
	if r.flags.givesBulk() {
		r.conn.SaaSquatch.Bulk = r.flags.bulk
	}
	r.mapper, err = mapping.New(r.conn.Mapping)
	return err
}

// pickConnection returns the connection with the name, or the only one.
func pickConnection(cfg *config.Config, name string) (*config.Connection, error) {
	names := connectionNames(cfg)
	switch i := slices.Index(names, name); {
	case i >= 0:
		return &cfg.Connections[i], nil
	case name != "":
		return nil, fmt.Errorf("--connection %q: the configuration has no such connection, only %s",
			name, strings.Join(names, ", "))
	case len(names) > 1:
		return nil, fmt.Errorf("the configuration has several connections: name one of %s with --connection",
			strings.Join(names, ", "))
	}
	return &cfg.Connections[0], nil
}

func connectionNames(cfg *config.Config) []string {
	names := make([]string, len(cfg.Connections))
	for i := range cfg.Connections {
		names[i] = cfg.Connections[i].Name
	}
	return names
}

func (r *replaying) close() {
	if r.chosen != nil {
		r.chosen.Close()
	}
	if r.service.sandbox != nil {
		r.service.sandbox.close()
	}
}

// replay replays in the way of the flags.
func (r *replaying) replay(ctx context.Context) error {
	switch {
	case r.flags.dry:
		return r.dryRun(ctx)
	case r.flags.out != "":
		return r.writeFiles(ctx)
	}
	return r.send(ctx)
}

// openArchive opens the sources of the spec.
func (r *replaying) openArchive(ctx context.Context, spec *replay.Spec) (*archive.Archive, error) {
	opened, err := archive.Open(ctx, spec.Sources, archive.Options{
		Stdin: r.stdin, From: spec.From, To: spec.To, Sources: spec.SourceIDs,
		PassedOver: func(key, reason string) { r.passedOver = replay.AddPassedOver(r.passedOver, key, reason) },
	})
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	return opened, nil
}

// options returns the options of every kind of replay.
func (r *replaying) options(spec *replay.Spec) (replay.Options, error) {
	// A resumed run reads the archive from the start only to choose identify calls.
	r.users = replay.NewUserMatches(&spec.Filter, r.flags.resume != 0 && !r.chooses(spec))
	opts := replay.Options{
		Mapper: r.mapper, Progress: r.watch, Rate: r.flags.rate, OnPanic: r.logPanic, Users: r.users,
	}
	if r.flags.server != "" {
		opts.Window = r.flags.concurrency // the server limits the requests in flight
	} else if cfg := r.service.cfg; storeExists(cfg) && cfg.Store.IsZero() {
		opts.Dir = cfg.DataDir // the store has its events there too
	}
	if spec.Filter.Where == "" {
		return opts, nil
	}
	where, err := jsonata.Compile(spec.Filter.Where)
	if err != nil {
		return opts, fmt.Errorf("--where: %w", err)
	}
	opts.Where = where
	return opts, nil
}

// chooses reports whether the replay reads the archive once more to choose identify calls.
func (r *replaying) chooses(spec *replay.Spec) bool {
	one := spec.Identify == replay.IdentifyMerged || spec.Identify == replay.IdentifyNewest
	return one && r.conn.Mapping.Identify
}

// chooseIdentify reads the archive to choose the identify calls if the spec asks for one of each user.
func (r *replaying) chooseIdentify(
	ctx context.Context, spec *replay.Spec, opts replay.Options,
) (replay.Options, error) {
	if !r.chooses(spec) {
		return opts, nil
	}
	err := r.reading(ctx, spec, nil, func(blocks replay.Blocks) (err error) {
		r.chosen, err = replay.ChooseIdentify(ctx, spec, blocks, opts)
		return err
	})
	opts.Chosen = r.chosen
	r.passedOver = nil // the second reading counts them
	switch {
	case err == nil:
		return opts, nil
	case ctx.Err() != nil:
		return opts, errInterrupted
	default:
		return opts, failed(err)
	}
}

// looking reads the archive with the store to look into. It leaves no run.
func (r *replaying) looking(ctx context.Context, fn func(replay.Blocks, replay.Options) error) error {
	opts, err := r.options(r.spec)
	if err != nil {
		return err
	}
	if opts, err = r.chooseIdentify(ctx, r.spec, opts); err != nil {
		return err
	}
	ledger, closeLedger, err := r.openLedger(ctx)
	if err != nil {
		return failed(err)
	}
	defer closeLedger()
	opts.Ledger = ledger
	read := func() error {
		return r.reading(ctx, r.spec, nil, func(blocks replay.Blocks) error { return fn(blocks, opts) })
	}
	if r.flags.failedFile == "" {
		return failed(read())
	}
	return failed(r.flags.failures().write(func(out io.Writer) error {
		opts.Failed = func(text []byte) error {
			_, err := out.Write(append(bytes.Clone(text), '\n'))
			return err
		}
		return read()
	}))
}

// logPanic reports a panic of the mapping.
func (r *replaying) logPanic(cause any, stack []byte) {
	fmt.Fprintf(r.stderr, "panic while an event was mapped: %v\n%s", cause, stack)
}

// dryRun counts the events that a replay would send.
func (r *replaying) dryRun(ctx context.Context) error {
	var counted *replay.Counted
	err := r.looking(ctx, func(blocks replay.Blocks, opts replay.Options) (err error) {
		counted, err = replay.Count(ctx, r.spec, blocks, opts)
		return err
	})
	if counted == nil || err != nil && ctx.Err() == nil {
		return err
	}
	report := counted.Report(r.flags.rate)
	report.Interrupted = err != nil
	return r.conclude(report)
}

// damaged returns the error of objects that could not be read.
func damaged(report *replay.Report, remedy string) error {
	return fmt.Errorf("%d objects could not be read to their ends%s", len(report.Faults), remedy)
}

// openLedger opens the store to look into, if there is one. The caller closes it.
func (r *replaying) openLedger(ctx context.Context) (*replay.Ledger, func(), error) {
	if r.flags.server == "" && !storeExists(r.service.cfg) {
		fmt.Fprintln(r.stderr, "there is no store yet, so no event counts as delivered already")
		return nil, func() {}, nil
	}
	opened, closer, err := openRuns(ctx, r.service.cfg, r.flags.server)
	if err != nil {
		return nil, nil, err
	}
	ledger := &replay.Ledger{Store: opened, Connection: r.conn.Name, Tenant: tenantOf(r.conn)}
	return ledger, func() { _ = closer.Close() }, nil // nothing was written
}

// reading opens the archive, shows the progress, and runs fn on the blocks. The function resume returns how
// far an object has been read before.
func (r *replaying) reading(
	ctx context.Context, spec *replay.Spec, resume func(archive.Object) (int64, bool), fn func(replay.Blocks) error,
) error {
	opened, err := r.openArchive(ctx, spec)
	if err != nil {
		return err
	}
	if (r.flags.dry || r.flags.out != "") && !readsStdin(spec) {
		noteMemory(ctx, r.stderr, opened, spec.Limit)
	}
	reader := opened.Read(ctx, archive.ReadOptions{Resume: resume})
	stop := r.show(ctx, opened, spec)
	err = fn(reader)
	stop()
	return errors.Join(err, reader.Close(), opened.Close())
}

// errInterrupted means that a signal ended a command before its end.
var errInterrupted = errors.New("interrupted")

// send replays through the store, or through a server.
func (r *replaying) send(ctx context.Context) (err error) {
	replays, closeReplays, err := r.openReplays(ctx)
	if err != nil {
		return failed(err)
	}
	defer func() { err = errors.Join(err, failed(closeReplays())) }()
	spec := r.spec
	if r.flags.resume != 0 {
		run, _, err := replays.Run(ctx, r.flags.resume)
		if err != nil {
			return failed(fmt.Errorf("resume: %w", err))
		}
		if spec, err = r.specOf(run); err != nil {
			return err
		}
		if spec.Via == replay.ViaImport && r.flags.givesBulk() {
			return errBulkOfImport
		}
		if err := r.flags.checkOutputs(spec.Sources); err != nil {
			return err
		}
	}
	opts, err := r.options(spec)
	if err != nil {
		return err
	}
	opts.Ledger = &replay.Ledger{Store: replays, Connection: r.conn.Name, Tenant: tenantOf(r.conn)}
	if err := r.confirm(ctx, spec); err != nil {
		return err
	}
	if opts, err = r.chooseIdentify(ctx, spec, opts); err != nil {
		return err
	}
	run, objects, err := r.takeOrBegin(ctx, replays, spec)
	if err != nil {
		return failed(err)
	}
	fmt.Fprintf(r.stderr, "run %d%s\n", run.ID, r.goOn(": if it is interrupted, go on with", run.ID))
	sendErr := r.reading(ctx, spec, replay.Resume(objects), func(blocks replay.Blocks) error {
		if spec.Via == replay.ViaImport {
			return r.importRun(ctx, replays, run, objects, blocks, opts)
		}
		return replay.Deliver(ctx, replays, run, objects, blocks, opts)
	})
	return r.finish(ctx, replays, run.ID, sendErr)
}

// takeOrBegin takes the run of --resume, or begins a run. It is called after all checks, so that a run that
// cannot be resumed here stays as it is.
func (r *replaying) takeOrBegin(
	ctx context.Context, replays adapter.RunStore, spec *replay.Spec,
) (*adapter.Run, []adapter.ObjectProgress, error) {
	if r.flags.resume == 0 {
		text, err := json.Marshal(spec)
		if err != nil {
			return nil, nil, fmt.Errorf("write the spec: %w", err)
		}
		run, err := replays.BeginRun(ctx, r.conn.Name, tenantOf(r.conn), text)
		return run, nil, err
	}
	run, objects, err := replays.TakeRun(ctx, r.flags.resume)
	if err != nil {
		return nil, nil, fmt.Errorf("resume: %w", err)
	}
	return run, objects, nil
}

// specOf returns the spec of a resumed run.
func (r *replaying) specOf(run *adapter.Run) (*replay.Spec, error) {
	switch {
	case run.Connection == r.conn.Name:
		return replay.ParseSpec(run.Spec)
	case slices.Contains(r.connections, run.Connection):
		return nil, fmt.Errorf("run %d is of connection %s: name it with --connection %[2]s", run.ID, run.Connection)
	}
	return nil, fmt.Errorf("run %d is of connection %s, which the configuration does not have: "+
		"use the configuration with which the run began", run.ID, run.Connection)
}

// finish reports the run, and returns how it ended.
func (r *replaying) finish(ctx context.Context, replays adapter.RunStore, id int64, sendErr error) error {
	// The report matters most after an interruption, so it outlives ctx.
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	report, err := reportOf(lasting, replays, id)
	if err == nil {
		err = r.report(report)
	}
	if err == nil {
		err = r.writeFailures(lasting, replays, id)
	}
	if err != nil {
		return failed(errors.Join(sendErr, err))
	}
	switch {
	case sendErr != nil && ctx.Err() != nil:
		return fmt.Errorf("%w%s", errInterrupted, r.goOn(": go on with", id))
	case sendErr != nil:
		return failed(fmt.Errorf("%w%s", sendErr, r.goOn("; go on with", id)))
	case len(report.Faults) > 0:
		return failed(damaged(report, r.goOn("; to try them again, go on with", id)))
	case report.Failed() > 0:
		return failed(fmt.Errorf("%d events are dead or rejected: "+
			"deliveries list --run %d --outcome dead,rejected shows them", report.Failed(), id))
	}
	return nil
}

// reportOf returns the report of a run, with its import jobs.
func reportOf(ctx context.Context, replays adapter.RunStore, id int64) (*replay.Report, error) {
	run, objects, err := replays.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	report, err := replay.ReportRun(run, objects)
	imports, ok := replays.(adapter.ImportStore)
	if err != nil || !ok {
		return report, err
	}
	jobs, err := imports.Jobs(ctx, run)
	if err != nil {
		return nil, err
	}
	report.Jobs, err = importjob.Reports(jobs)
	return report, err
}

// goOn returns the command that goes on with the run, empty if its store ends with this process.
func (r *replaying) goOn(when string, run int64) string {
	if sandbox := r.service.sandbox; sandbox != nil && sandbox.dataDir != "" {
		return ""
	}
	command := fmt.Sprintf("segment-saasquatch replay --resume %d", run)
	if r.flags.connection != "" {
		command += " --connection " + r.flags.connection
	}
	if r.flags.server != "" {
		command += " --server " + r.flags.server
	}
	return when + ": " + command
}

// finishTimeout bounds the report at the end.
const finishTimeout = 5 * time.Minute

// confirm asks for confirmation before the replay sends to a live tenant.
func (r *replaying) confirm(ctx context.Context, spec *replay.Spec) error {
	tenant := r.conn.SaaSquatch.TenantAlias
	if r.flags.yes || r.flags.server == "" && adapter.IsTestTenant(tenant) {
		return nil
	}
	const consequence = "fire programs and rewards whatever their age, and cannot be deleted."
	question := fmt.Sprintf("This sends the events to the live tenant %s, where they %s", tenant, consequence)
	switch {
	case r.flags.server != "":
		question = "This hands the events to the server, which sends them to its tenant. " +
			"In a live tenant they " + consequence
	case spec.Via == replay.ViaImport && !spec.FirePrograms:
		question = fmt.Sprintf("This imports the events into the live tenant %s without evaluating its programs. "+
			"They cannot be deleted.", tenant)
	}
	if err := r.canConfirm(&confirmFlags{}); err != nil {
		return fmt.Errorf("%w\n%s", err, question)
	}
	return failed(r.ask(ctx, question))
}

// openReplays opens the store with a dispatcher that delivers from it, or a client of the server.
func (r *replaying) openReplays(ctx context.Context) (adapter.RunStore, func() error, error) {
	if r.flags.server != "" {
		client, err := newServerClient(r.service.cfg, r.flags.server)
		return client, func() error { return nil }, err
	}
	s := r.service
	// This process is a server for one connection.
	s.cfg.Connections, s.cfg.Delivery = []config.Connection{*r.conn}, config.DeliveryDurable
	var err error
	if s.log, err = newLogger(config.Log{Level: r.logLevel(), Format: s.cfg.Log.Format}, r.stderr); err != nil {
		return nil, nil, err
	}
	s.events = zap.NewNop() // the report and the store have the events
	s.metrics = admin.NewMetrics()
	delivering, err := s.startDelivering(ctx)
	var inUse *store.InUseError
	if errors.As(err, &inUse) {
		return nil, nil, fmt.Errorf("%w; to replay through that server, add its admin address: "+
			"--server http://127.0.0.1:9090", err)
	}
	if err != nil {
		return nil, nil, err
	}
	return delivering.store, func() error {
		lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
		defer cancel()
		return errors.Join(delivering.drain(lasting), delivering.close())
	}, nil
}

// logLevel leaves out informational messages by default: the progress has the news.
func (r *replaying) logLevel() string {
	if level := r.service.cfg.Log.Level; level != "info" {
		return level
	}
	return "warn"
}
