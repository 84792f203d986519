// Command segment-saasquatch receives Segment webhooks and forwards their events
// to SaaSquatch (impact.com Advocate).
package main

import (
	"context"
	"os"
	"os/signal"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, endingSignals()...)
	go func() {
		<-signals
		cancel()
		<-signals // the operator does not want to wait
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}
