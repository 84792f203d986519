package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // wrong command line or configuration

	exitInterrupted = 130 // a signal ended a command before its end, or a second signal ended a shutdown
)

// program has the environment and the standard streams of a command.
type program struct {
	env    func(string) (string, bool)
	stdin  io.Reader
	stdout io.Writer
	// stderr never blocks, so that no command waits for the reader of its messages.
	stderr *logBuffer
}

// run runs one command and returns the exit code of the process. Once ctx has ended, it returns after an orderly
// shutdown of the command.
func run(
	ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer,
) int {
	p := &program{env: env, stdin: stdin, stdout: stdout, stderr: newLogBuffer(stderr)}
	defer p.stderr.close(logCloseTimeout)
	root := &cobra.Command{
		Use:           "segment-saasquatch",
		Short:         "Deliver Segment events to SaaSquatch, each once and provably",
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nsee %s --help", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(p.serveCommand(), p.replayCommand(), p.migrateCheckCommand(), p.deliveriesCommand(),
		p.storeCommand(), p.mapCommand(), p.sendCommand(), p.sandboxCommand(), p.configCommand(),
		p.healthcheckCommand(), p.versionCommand())

	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(p.stderr, "segment-saasquatch: %v\n", err)
	if errors.Is(err, errInterrupted) || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	var started startedError
	if errors.As(err, &started) {
		return exitFailed
	}
	return exitUsage
}

// startedError is a failure after a correct call of the command.
type startedError struct{ error }

func (e startedError) Unwrap() error { return e.error }

// failed marks err as a failure after a correct call. Any other error of a command means a wrong call, as cobra's
// own errors do.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return startedError{err}
}

// The build sets version and commit: -ldflags "-X main.version=… -X main.commit=…".
var version, commit string

func (p *program) versionCommand() *cobra.Command {
	cmd := command("version", "Print the version", "")
	cmd.RunE = func(*cobra.Command, []string) error {
		_, err := fmt.Fprintf(p.stdout, "segment-saasquatch %s %s %s/%s\n",
			buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return failed(err)
	}
	return cmd
}

// buildVersion returns the version and commit of the build, or those that Go recorded.
func buildVersion() string {
	v, c := version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		for _, setting := range info.Settings {
			if c == "" && setting.Key == "vcs.revision" {
				c = setting.Value
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	if c != "" {
		v += " (" + c[:min(12, len(c))] + ")"
	}
	return v
}
