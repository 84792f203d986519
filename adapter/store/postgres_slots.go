package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/time/rate"
)

const (
	// refusedRest is how long the process asks for one connection less after the server has refused one.
	refusedRest = 10 * time.Second
	// refusedEvery is the least time between two reports of refused connections.
	refusedEvery = 10 * time.Minute
)

// connectionSlots are the connections that the process may have. If the server grants fewer, their users share them
// until it grants more.
type connectionSlots struct {
	free      chan struct{}
	onRefused func(error)
	sometimes *rate.Sometimes
}

func newSlots(n int, onRefused func(error)) connectionSlots {
	p := connectionSlots{
		free: make(chan struct{}, n), onRefused: orIgnore(onRefused),
		sometimes: &rate.Sometimes{First: 1, Interval: refusedEvery},
	}
	for range n {
		p.free <- struct{}{}
	}
	return p
}

func (p *connectionSlots) leave() { p.free <- struct{}{} }

// begin runs a function that begins something on a connection of the pool, and returns a function that ends the use
// of the connection. It waits for a connection until ctx ends. If the function meets a dead connection, begin runs it
// again: it has had no effect yet.
func (e *postgresEngine) begin(ctx context.Context, fn func() error) (leave func(), err error) {
	for tries := 0; ; tries++ {
		select {
		case <-e.slots.free:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for one of %d connections: %w", cap(e.slots.free), ctx.Err())
		}
		err := fn()
		switch {
		case err == nil:
			return e.slots.leave, nil
		case isRefused(err) && e.hasConnections():
			time.AfterFunc(refusedRest, e.slots.leave)
			e.slots.sometimes.Do(func() { e.slots.onRefused(e.remedy(err)) })
		case isLost(err) && tries < cap(e.slots.free):
			e.slots.leave()
		default:
			e.slots.leave()
			return nil, err
		}
	}
}

// useConnection runs a function that uses a connection of the pool, and runs it again after a dead connection. The
// function may be carried out twice.
func (e *postgresEngine) useConnection(ctx context.Context, fn func() error) error {
	leave, err := e.begin(ctx, fn)
	if err == nil {
		leave()
	}
	return err
}

// hasConnections reports whether the process has connections to wait for.
func (e *postgresEngine) hasConnections() bool {
	stat := e.pool.Stat()
	return stat.AcquiredConns()+stat.IdleConns() > 0
}

// isRefused reports whether the server, or a pooler, refuses another connection.
func isRefused(err error) bool {
	var fault *pgconn.PgError
	return errors.As(err, new(*pgconn.ConnectError)) && errors.As(err, &fault) &&
		slices.Contains(refusedCodes, fault.Code)
}

// refusedCodes are PostgreSQL's too_many_connections, and protocol_violation, which PgBouncer uses for it.
var refusedCodes = []string{"53300", "08P01"}
