package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
)

// command returns a command that takes no arguments; its Args may be changed.
func command(use, short, long string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: strings.TrimSpace(long), Args: cobra.NoArgs}
}

// configFlags are the flags of commands that read the configuration.
type configFlags struct {
	cmd  *cobra.Command
	env  func(string) (string, bool)
	file string
}

// addConfigFlags adds --config and the flags of the settings.
func (p *program) addConfigFlags(cmd *cobra.Command) *configFlags {
	f := &configFlags{cmd: cmd, env: p.env}
	cmd.Flags().StringVar(&f.file, "config", "", "read the configuration from this `file` (default: no file)")
	config.RegisterFlags(cmd.Flags())
	return f
}

// load returns the configuration: the file, then the environment, then flags. It is not validated yet.
func (f *configFlags) load() (*config.Config, error) {
	return config.Load(config.Source{File: f.file, Env: f.env, Flags: f.cmd.Flags()})
}

// runs makes the command run fn with the configuration.
func (f *configFlags) runs(fn func(cfg *config.Config, args []string) error) {
	f.cmd.RunE = func(_ *cobra.Command, args []string) error {
		cfg, err := f.load()
		if err != nil {
			return err
		}
		return fn(cfg, args)
	}
}

// confirmFlags are the flags of commands that ask before they change something.
type confirmFlags struct{ dry, yes bool }

func (f *confirmFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "report what the command would do, and change nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "skip the confirmation")
}

// errNotConfirmed means that nothing was changed because the operator did not agree.
var errNotConfirmed = errors.New("nothing was changed")

// canConfirm returns an error if the operator has to confirm, and there is no terminal.
func (p *program) canConfirm(f *confirmFlags) error {
	if f.yes || f.dry || p.canAsk() {
		return nil
	}
	return fmt.Errorf("%w: there is no terminal for the confirmation; add --yes to do it, "+
		"or --dry-run to see what it would do", errNotConfirmed)
}

func (p *program) canAsk() bool {
	file, ok := p.stdin.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// carryOut calls do with dry set, asks the operator, and calls do without dry. It leaves out the question
// under --yes, and the change under --dry-run. A text that comes with an error is reported too.
func (p *program) carryOut(
	ctx context.Context, f *confirmFlags, asJSON bool, do func(dry bool) (string, any, error),
) error {
	if f.dry || !f.yes {
		text, value, err := do(true)
		switch {
		case err != nil:
			return err
		case f.dry:
			return p.report(text, value, asJSON)
		}
		if err := p.ask(ctx, text); err != nil {
			return err
		}
	}
	text, value, err := do(false)
	if text == "" {
		return err
	}
	return errors.Join(err, p.report(text, value, asJSON))
}

// report writes the value as JSON, or the text.
func (p *program) report(text string, value any, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(p.stdout).Encode(value)
	}
	_, err := fmt.Fprintln(p.stdout, text)
	return err
}

// ask returns nil if the operator agrees. If ctx ends first, the error is errInterrupted too.
func (p *program) ask(ctx context.Context, question string) error {
	fmt.Fprintf(p.stderr, "%s\nGo on? [y/N] ", question)
	answered := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(p.stdin).ReadString('\n') // the end of the input means no
		answered <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answered:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return errNotConfirmed
	case <-ctx.Done(): // the goroutine stays in the read
		return fmt.Errorf("%w: %w", errNotConfirmed, errInterrupted)
	}
}

// writeLines writes each value as a line of JSON.
func writeLines[T any](out io.Writer, values []T) error {
	lines := json.NewEncoder(out)
	for i := range values {
		if err := lines.Encode(&values[i]); err != nil {
			return err
		}
	}
	return nil
}
