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

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/replay"
)

// replayFlags are the flags of a replay.
type replayFlags struct {
	*configFlags
	connection, server string
	sandbox            bool

	given replay.Spec // of the flags that need no reading

	from, to, since, until string
	integrations           []string
	userFile, exceptFile   string
	sample, out            string
	dry, yes               bool
	resume                 int64
	rate                   float64
	concurrency, bulk      int
	progress               *string
	reportFile, failedFile string
	force                  bool
}

// specFlags make the spec of a run. A resumed run keeps its own spec.
var specFlags = []string{
	"from", "to", "source", "event", "user", "user-file", "except-user-file", "since", "until", "where", "limit",
	"sample", "integration", "consent", "any-age", "identify", "via", "out", "fire-programs", "dry-run",
}

// addArchiveFlags adds the flags that pick a part of an archive.
func (f *replayFlags) addArchiveFlags(limit int64) {
	flags := f.cmd.Flags()
	flags.StringVar(&f.from, "from", "", "first UTC `day` of reception by Segment (default: the first)")
	flags.StringVar(&f.to, "to", "", "last UTC `day` of reception by Segment (default: the last)")
	flags.StringSliceVar(&f.given.SourceIDs, "source", nil, "read the Segment sources with these `ids` (default: all)")
	flags.StringVar(&f.sample, "sample", "",
		"take this `share` of the events, such as 1%; repeated runs take the same events (default: all)")
	flags.Int64Var(&f.given.Limit, "limit", limit, "stop after this number of `events`; 0 is no limit")
}

func (p *program) addReplayFlags(cmd *cobra.Command) *replayFlags {
	f := &replayFlags{configFlags: p.addConfigFlags(cmd)}
	f.addArchiveFlags(0)
	flags := cmd.Flags()
	flags.StringVar(&f.connection, "connection", "", "send to the connection with this `name` (default: the only one)")
	flags.StringVar(&f.server, "server", "",
		"hand the events to the server with this admin `URL`; set its token in ADMIN_TOKEN (default: open the store)")
	flags.BoolVar(&f.sandbox, "sandbox", false, "send to a simulated SaaSquatch in this process")

	flags.StringArrayVar(&f.given.Filter.Events, "event", nil,
		"replay events with this `name`, exactly as in Segment; may be repeated (default: all)")
	flags.StringArrayVar(&f.given.Filter.Users, "user", nil,
		"replay the events of this `userId`; may be repeated (default: all)")
	flags.StringVar(&f.userFile, "user-file", "",
		"replay the events of the userIds in this `file`, one a line, as it is or quoted as in CSV (default: all)")
	flags.StringVar(&f.exceptFile, "except-user-file", "",
		"leave out the events of the userIds in this `file`, in the same form (default: none)")
	flags.StringVar(&f.since, "since", "", "replay events of this `time` or later, by their own time (default: any)")
	flags.StringVar(&f.until, "until", "", "replay events before this `time`, by their own time (default: any)")
	flags.StringVar(&f.given.Filter.Where, "where", "",
		"replay events for which this JSONata `expression` is true, such as $number(properties.revenue) > 100 "+
			"(default: all)")
	flags.StringArrayVar(&f.integrations, "integration", replay.DefaultIntegrations,
		"leave out events whose integrations object disables the destination with this `name`; may be repeated: "+
			"the first name in the object decides, else its entry for all; \"\" leaves out none")
	flags.StringArrayVar(&f.given.Filter.Consent, "consent", nil,
		"leave out events that deny this `category` of consent; may be repeated (default: none)")
	flags.BoolVar(&f.given.AnyAge, "any-age", false, "replay events of any age, whatever max_age and max_ahead say")

	flags.StringVar((*string)(&f.given.Identify), "identify", "",
		"replay these identify calls: merged (one of each user, with the traits of all; reads the archive twice), "+
			"newest (of each user, unchanged), all, none (default: merged; none for standard input and --via import)")
	flags.StringVar((*string)(&f.given.Via), "via", string(replay.ViaAPI),
		"send by api (each event by itself, as live traffic; fires programs) or import (bulk import jobs)")
	flags.StringVar(&f.out, "out", "",
		"with --via import: write the files into this `directory`, and send nothing (default: send them)")
	flags.BoolVar(&f.given.FirePrograms, "fire-programs", false,
		"with --via import: have SaaSquatch evaluate its programs, which gives rewards")
	flags.BoolVar(&f.dry, "dry-run", false, "report what the replay would send; send and store nothing")
	flags.BoolVar(&f.yes, "yes", false, "skip the confirmation before sending to a live tenant")
	flags.Float64Var(&f.rate, "rate", 0, "send at most this number of `events` per second; 0 is no limit")
	flags.IntVar(&f.concurrency, "concurrency", 0,
		"have at most this number of `requests` in flight (default: saasquatch.concurrency)")
	flags.IntVar(&f.bulk, bulkFlag, 0,
		"put at most this number of `events` into one call to SaaSquatch, 1 to 100 (default: saasquatch.bulk)")
	flags.Int64Var(&f.resume, "resume", 0, "go on with the `run`, by its number in replay list (default: begin a run)")

	f.progress = addProgressFlag(cmd)
	flags.StringVar(&f.reportFile, "report", "", "also write the report as JSON to this `file` (default: none)")
	flags.StringVar(&f.failedFile, "failures", "",
		"write dead and rejected events to this `file`, ready for another replay; also in a dry run (default: none)")
	flags.BoolVar(&f.force, "force", false, "let --report and --failures replace existing files")
	return f
}

// check returns all faults of the flags, joined.
func (f *replayFlags) check(args []string) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if f.resume != 0 {
		for _, name := range specFlags {
			if f.cmd.Flags().Changed(name) {
				fault("--%s cannot be changed for a resumed run: leave it out, or begin another run", name)
			}
		}
		if len(args) > 0 {
			fault("a resumed run has its own sources: leave out %s", strings.Join(args, " "))
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
	if f.givesBulk() && (f.bulk < 1 || f.bulk > adapter.MaxBulk) {
		fault("--%s is %d: write a number of events from 1 to %d", bulkFlag, f.bulk, adapter.MaxBulk)
	}
	if f.givesBulk() && f.server != "" {
		fault("--%s and --server exclude each other: the server sends the events, by its own saasquatch.bulk",
			bulkFlag)
	}
	if f.givesBulk() && f.given.Via == replay.ViaImport {
		faults = append(faults, errBulkOfImport)
	}
	if f.out != "" && f.given.Via != replay.ViaImport {
		fault("--out needs --via import")
	}
	if f.out != "" && f.dry {
		fault("--out and --dry-run exclude each other: --out alone sends nothing either")
	}
	if f.server != "" && (f.sandbox || f.given.Via == replay.ViaImport) {
		fault("--server excludes --sandbox and --via import: an import job needs the store itself")
	}
	if err := checkProgress(*f.progress); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

const (
	maxReplayConcurrency = 1000
	bulkFlag             = "bulk"
)

// errBulkOfImport refuses --bulk for a run by import jobs. A resumed run has its own way of sending.
var errBulkOfImport = errors.New("--bulk and --via import exclude each other: an import job has no bulk calls")

// givesBulk reports whether the command line overrides saasquatch.bulk.
func (f *replayFlags) givesBulk() bool { return f.cmd.Flags().Changed(bulkFlag) }

func (f *replayFlags) report() *outputFile { return &outputFile{"--report", f.reportFile, f.force} }

func (f *replayFlags) failures() *outputFile { return &outputFile{"--failures", f.failedFile, f.force} }

// checkOutputs returns why a file cannot be written, joined. The outputs never replace the archive or a file
// that the replay reads.
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
	spec := f.given
	spec.Sources = args
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
		if spec.Identify = replay.IdentifyMerged; spec.Via == replay.ViaImport || readsStdin(&spec) {
			spec.Identify = replay.IdentifyNone
		}
	}
	users, file, err := readUsers(ctx, f.userFile)
	read("user-file", err)
	spec.Filter.Users, spec.Filter.UserFile = append(spec.Filter.Users, users...), file
	spec.Filter.Except, spec.Filter.ExceptFile, err = readUsers(ctx, f.exceptFile)
	read("except-user-file", err)
	return &spec, errors.Join(append(faults, spec.Validate())...)
}

// parseShare reads a share: a number up to 1, or a percentage.
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
		return 0, fmt.Errorf("%q is not a share: write one such as 1%% or 0.01, above 0 and up to 100%%", text)
	}
	return share, nil
}

// readUsers reads a file of userIds; see [replay.ParseUsers]. Without a name there are no userIds.
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

// readFile is os.ReadFile, but returns when ctx ends: the file may be a pipe.
func readFile(ctx context.Context, name string) ([]byte, error) {
	done := make(chan struct{})
	var content []byte
	var err error
	go func() {
		defer close(done)
		content, err = os.ReadFile(name)
	}()
	select {
	case <-done:
		return content, err
	case <-ctx.Done():
		return nil, fmt.Errorf("read %s: %w", name, errInterrupted)
	}
}
