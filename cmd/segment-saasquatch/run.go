package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // the command line or the configuration is wrong

	exitInterrupted = 130 // a signal ended a replay or a check before its end, or a second one an orderly end
)

// program is what a command may use of the world around it.
type program struct {
	env    func(string) (string, bool)
	stdin  io.Reader
	stdout io.Writer
	// stderr never blocks, so that nothing waits for the reader of a log or of messages.
	stderr *logBuffer
}

// run runs one command and returns the exit code of the process. It returns when
// ctx ends, after the command has brought its work to an orderly end.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{env: env, stdin: stdin, stdout: stdout, stderr: newLogBuffer(stderr)}
	defer p.stderr.close(logCloseTimeout)
	root := &cobra.Command{
		Use:           "segment-saasquatch",
		Short:         "Segment events to SaaSquatch, once and provably",
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
	root.AddCommand(p.serveCommand(), p.replayCommand(), p.migrateCheckCommand(), p.deliveriesCommand(), p.storeCommand(), p.mapCommand(), p.sendCommand(), p.sandboxCommand(),
		p.configCommand(), p.healthcheckCommand(), p.versionCommand())

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

// startedError is a failure of a command that was called rightly.
type startedError struct{ error }

func (e startedError) Unwrap() error { return e.error }

// failed marks err as a failure of a command that was called rightly; whatever
// else a command returns is a wrong call, as cobra's own errors are.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return startedError{err}
}
