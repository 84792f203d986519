// Command segment-saasquatch receives Segment webhooks and delivers their events to SaaSquatch (impact.com Advocate).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, endingSignals()...)
	go func() {
		<-signals
		cancel()
		<-signals // a second signal: do not wait
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// endingSignals returns the signals that end a command in good order. SIGHUP is not one of them if the process
// was started to ignore it, as nohup does.
func endingSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// outliveTerminal lets a server go on after its terminal, or the reader of its log, has closed. Then the log is
// lost, and nothing else. The other commands keep the default: a write to a closed standard output or error ends
// the process, as users of head expect.
func outliveTerminal() { signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE) }
