package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/replay"
)

// replayFlags are the flags of a replay.
type replayFlags struct {
	cmd                      *cobra.Command
	file, connection, server string
	sandbox                  bool

	from, to, since, until           string
	sources, events, users           []string
	integrations, consent            []string
	userFile, exceptFile             string
	where, sample                    string
	limit                            int64
	anyAge                           bool
	identify                         string
	via, out                         string
	firePrograms                     bool
	dry, yes                         bool
	resume                           int64
	rate                             float64
	concurrency                      int
	progress, reportFile, failedFile string
	force                            bool
}

// specFlags are those that make the spec of a run: one that is resumed keeps its own.
var specFlags = []string{"from", "to", "source", "event", "user", "user-file", "except-user-file", "since", "until", "where", "limit", "sample",
	"integration", "consent", "any-age", "identify", "via", "out", "fire-programs", "dry-run"}

func addReplayFlags(cmd *cobra.Command) *replayFlags {
	f := &replayFlags{cmd: cmd}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "config", "", "configuration `file`")
	flags.StringVar(&f.connection, "connection", "", "`name` of the connection to send to, if there are several")
	flags.StringVar(&f.server, "server", "", "hand the events to the server at this `URL`, its admin address; ADMIN_TOKEN opens it")
	flags.BoolVar(&f.sandbox, "sandbox", false, "send to a simulated SaaSquatch in this process")

	flags.StringVar(&f.from, "from", "", "first `day` on which Segment received the events (UTC)")
	flags.StringVar(&f.to, "to", "", "last `day` on which Segment received the events (UTC)")
	flags.StringSliceVar(&f.sources, "source", nil, "`ids` of Segment sources to replay")

	flags.StringArrayVar(&f.events, "event", nil, "`name` of events to replay, exactly as in Segment; may be repeated")
	flags.StringArrayVar(&f.users, "user", nil, "`userId` whose events to replay; may be repeated")
	flags.StringVar(&f.userFile, "user-file", "", "`file` of userIds, one a line as it stands or in CSV's quotation marks, whose events to replay")
	flags.StringVar(&f.exceptFile, "except-user-file", "", "`file` of userIds, in the same form, whose events to leave out")
	flags.StringVar(&f.since, "since", "", "replay events of this `time` or later, by their own time")
	flags.StringVar(&f.until, "until", "", "replay events before this `time`, by their own time")
	flags.StringVar(&f.where, "where", "", "JSONata `expression` over the event that has to be true, such as $number(properties.revenue) > 100")
	flags.StringVar(&f.sample, "sample", "", "`share` of the events to take, such as 1%; the same ones every time")
	flags.Int64Var(&f.limit, "limit", 0, "stop after so many `events` that are sent; 0 for all")
	flags.StringArrayVar(&f.integrations, "integration", replay.DefaultIntegrations, "`name` of the destination in the events' integrations, which switch it on or off; may be repeated: the first that an event has decides, else its entry for all; \"\" takes all events")
	flags.StringArrayVar(&f.consent, "consent", nil, "leave out events that deny this `category` of consent; may be repeated")
	flags.BoolVar(&f.anyAge, "any-age", false, "replay events of any age, whatever max_age and max_ahead say")

	flags.StringVar(&f.identify, "identify", "", "identify calls to replay: merged (one of each user, with the traits of all; reads the archive twice), newest (of each user, as it is), all or none (default: merged; none for standard input and --via import)")
	flags.StringVar(&f.via, "via", string(replay.ViaAPI), "api (each event by itself, as live traffic; fires programs) or import (bulk import jobs)")
	flags.StringVar(&f.out, "out", "", "with --via import: only write the files into this `directory`")
	flags.BoolVar(&f.firePrograms, "fire-programs", false, "with --via import: have SaaSquatch evaluate its programs, which gives rewards")
	flags.BoolVar(&f.dry, "dry-run", false, "say what would be sent, and send and store nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask before sending to a live tenant")
	flags.Float64Var(&f.rate, "rate", 0, "most `events` to send in a second; 0 for any number")
	flags.IntVar(&f.concurrency, "concurrency", 0, "most `requests` under way at once (default: saasquatch.concurrency)")
	flags.Int64Var(&f.resume, "resume", 0, "go on with this `run`; replay list shows them")

	flags.StringVar(&f.progress, "progress", progressAuto, progressUsage)
	flags.StringVar(&f.reportFile, "report", "", "write the report as JSON to this `file` as well")
	flags.StringVar(&f.failedFile, "failures", "", "write the dead and rejected events to this `file`, ready to be replayed again; also of a dry run")
	flags.BoolVar(&f.force, "force", false, "let --report and --failures replace files that exist")
	config.RegisterFlags(flags)
	return f
}

// check returns what is wrong with the flags together, joined.
func (f *replayFlags) check(args []string) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if f.resume != 0 {
		for _, name := range specFlags {
			if f.cmd.Flags().Changed(name) {
				fault("--%s cannot be changed for a run that is resumed: leave it out, or begin another run", name)
			}
		}
		if len(args) > 0 {
			fault("a run that is resumed has its sources: leave out %s", strings.Join(args, " "))
		}
	}
	if f.resume < 0 {
		fault("--resume is %d: write the number of a run, which replay list shows", f.resume)
	}
	if f.rate < 0 {
		fault("--rate is %v: write events per second, or 0 for any number", f.rate)
	}
	if f.concurrency < 0 || f.concurrency > maxReplayConcurrency {
		fault("--concurrency is %d: write a number from 1 to %d", f.concurrency, maxReplayConcurrency)
	}
	if f.out != "" && f.via != string(replay.ViaImport) {
		fault("--out goes with --via import")
	}
	if f.out != "" && f.dry {
		fault("--out goes without --dry-run: it sends nothing either")
	}
	if f.server != "" && (f.sandbox || f.via == string(replay.ViaImport)) {
		fault("--server goes with neither --sandbox nor --via import: an import job needs the store itself")
	}
	if err := checkProgress(f.progress); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

const maxReplayConcurrency = 1000

func (f *replayFlags) report() *outputFile { return &outputFile{"--report", f.reportFile, f.force} }

func (f *replayFlags) failures() *outputFile { return &outputFile{"--failures", f.failedFile, f.force} }

// checkOutputs returns why a file cannot be written, joined. The archive and the files
// that the command line names are never replaced.
func (f *replayFlags) checkOutputs(sources []string) error {
	inputs := append(slices.Clone(sources), f.file, f.userFile, f.exceptFile)
	var faults []error
	for _, out := range []*outputFile{f.report(), f.failures()} {
		if out.name != "" {
			faults = append(faults, out.check(inputs))
		}
	}
	if f.reportFile != "" && filepath.Clean(f.reportFile) == filepath.Clean(f.failedFile) {
		faults = append(faults, errors.New("--report and --failures name one file: name two"))
	}
	return errors.Join(faults...)
}

// spec reads the flags that make the spec of a run.
func (f *replayFlags) spec(ctx context.Context, args []string, now time.Time) (*replay.Spec, error) {
	spec := &replay.Spec{
		Sources: args, SourceIDs: f.sources, AnyAge: f.anyAge, Limit: f.limit, Via: replay.Via(f.via), FirePrograms: f.firePrograms,
		Identify: replay.Identify(f.identify),
		Filter:   replay.Filter{Events: f.events, Users: f.users, Where: f.where, Consent: f.consent},
	}
	var faults []error
	read := func(flag string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	var err error
	for _, day := range []struct {
		flag, text string
		to         *time.Time
	}{{"from", f.from, &spec.From}, {"to", f.to, &spec.To}} {
		*day.to, err = parseMoment(day.text, now)
		*day.to = day.to.UTC().Truncate(24 * time.Hour)
		read(day.flag, err)
	}
	spec.Filter.Since, err = parseMoment(f.since, now)
	read("since", err)
	spec.Filter.Until, err = parseMoment(f.until, now)
	read("until", err)
	spec.Filter.Sample, err = parseShare(f.sample)
	read("sample", err)
	for _, name := range f.integrations {
		if name != "" {
			spec.Filter.Integrations = append(spec.Filter.Integrations, name)
		}
	}
	if spec.Identify == "" {
		if spec.Identify = replay.IdentifyMerged; spec.Via == replay.ViaImport || readsStdin(spec) {
			spec.Identify = replay.IdentifyNone
		}
	}
	users, file, err := readUsers(ctx, f.userFile)
	read("user-file", err)
	spec.Filter.Users, spec.Filter.UserFile = append(spec.Filter.Users, users...), file
	spec.Filter.Except, spec.Filter.ExceptFile, err = readUsers(ctx, f.exceptFile)
	read("except-user-file", err)
	return spec, errors.Join(append(faults, spec.Validate())...)
}

// parseShare reads a share: a number up to 1, or one with a percent sign.
func parseShare(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, isPercent := strings.CutSuffix(text, "%")
	share, err := strconv.ParseFloat(number, 64)
	if isPercent {
		share /= 100
	}
	if err != nil || !(share > 0 && share <= 1) {
		return 0, fmt.Errorf("%q is no share: write one such as 1%% or 0.01, above 0 and up to 100%%", text)
	}
	return share, nil
}

// readUsers reads a file of userIds; see [replay.ParseUsers]. Without a name there are
// none.
func readUsers(ctx context.Context, name string) (users []string, read *replay.UserFile, err error) {
	if name == "" {
		return nil, nil, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if info.Size() > replay.MaxUserFile {
		return nil, nil, fmt.Errorf("%s is larger than 256 MiB: split it", name)
	}
	content, err := readFile(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if users, err = replay.ParseUsers(content); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return users, &replay.UserFile{Name: name, Lines: len(users)}, nil
}

// readFile is os.ReadFile, but leaves the file, which may be a pipe, when ctx ends.
func readFile(ctx context.Context, name string) (content []byte, err error) {
	done := make(chan struct{})
	var read []byte
	var failure error
	go func() {
		defer close(done)
		read, failure = os.ReadFile(name)
	}()
	select {
	case <-done:
		return read, failure
	case <-ctx.Done():
		return nil, fmt.Errorf("read %s: %w", name, errInterrupted)
	}
}
