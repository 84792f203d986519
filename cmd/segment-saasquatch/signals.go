package main

import (
	"os"
	"os/signal"
	"syscall"
)

// endingSignals are those that end a command in good order. SIGHUP is not one where the
// process was started to ignore it, as nohup starts it.
func endingSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// outliveTerminal has a server go on when its terminal closes, and when the reader of
// its log is gone: the log is lost then, and nothing else. By default a write to a
// closed standard output or error ends the process, as users of head expect it of the
// other commands.
func outliveTerminal() { signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE) }
