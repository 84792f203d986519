package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"go.uber.org/zap"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/admin"
	"segment-saasquatch/adapter/config"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/saasquatch"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// delivering accepts events and delivers them to SaaSquatch, for all connections.
type delivering struct {
	acceptors map[string]adapter.Acceptor // by connection
	mappers   map[string]*mapping.Mapper
	breakers  map[string]*delivery.Breaker
	tenants   map[string]string // their names in the store, by connection

	direct []*delivery.Direct

	store       *store.Store // nil for direct delivery
	dispatchers sync.WaitGroup
	looking     sync.WaitGroup // of lookForOthers
	stop        context.CancelFunc
}

// startDelivering prepares every connection. Durable delivery goes on with the pending events of the store.
func (s *service) startDelivering(ctx context.Context) (_ *delivering, err error) {
	d := &delivering{
		acceptors: make(map[string]adapter.Acceptor),
		mappers:   make(map[string]*mapping.Mapper),
		breakers:  make(map[string]*delivery.Breaker),
		tenants:   make(map[string]string),
		stop:      func() {},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	s.clock = adapter.NewClock(adapter.ClockOptions{OnJump: s.logJump})
	if s.cfg.Delivery == config.DeliveryDurable {
		opts := storeOptions(s.cfg)
		opts.Cache = storeCache(s.memoryLimit)
		opts.Now = s.clock.Now
		opts.OnSkew = s.logSkew
		opts.OnMigration = s.logMigration
		opts.OnHealth = s.logHealth
		opts.OnRefused = s.logRefused
		opts.OnHeldLog = s.logHeldLog
		opts.OnDropped = s.observeDropped()
		opts.OnRetention = func(err error) { s.log.Error("retention", zap.Error(err)) }
		if d.store, err = store.Open(ctx, opts); err != nil {
			return nil, err
		}
	}
	// The dispatchers outlive ctx: they end after the last request.
	var running context.Context
	running, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	tenants := make(map[string]*delivery.Breaker)
	for i := range s.cfg.Connections {
		conn := &s.cfg.Connections[i]
		mapper, err := mapping.New(conn.Mapping)
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", conn.Name, err)
		}
		d.mappers[conn.Name] = mapper.WithEvaluations(evaluations(len(s.cfg.Connections)))
		client, err := saasquatch.New(clientOptions(conn))
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", conn.Name, err)
		}
		sender := delivery.NewSender(&observedClient{client, s.observe(conn.Name)}, delivery.SenderOptions{
			EnsureBefore: conn.EnsureUsers == config.EnsureBefore,
			Timeout:      conn.SaaSquatch.AttemptTimeout,
		})
		tenant := tenantOf(conn)
		breaker := tenants[tenant]
		if breaker == nil {
			breaker = newBreaker(s, conn)
			tenants[tenant] = breaker
		}
		d.breakers[conn.Name] = breaker
		if d.store == nil {
			d.addDirect(s, conn, sender, breaker)
			continue
		}
		if err := d.addDurable(ctx, running, s, conn, sender, breaker); err != nil {
			return nil, err
		}
	}
	d.watch(s.metrics, s.clock)
	if d.store != nil {
		for name, share := range s.cfg.Shares() {
			s.metrics.BacklogLimit(name, int64(share.MaxEvents), share.MaxBytes)
		}
	}
	return d, nil
}

// evaluations returns how many expressions of a connection are evaluated at once: one on each processor. With
// several connections it is half of them, so that slow expressions do not delay the events of the others.
func evaluations(connections int) int {
	processors := runtime.GOMAXPROCS(0)
	if connections > 1 {
		return max(1, processors/2)
	}
	return processors
}

// watch has the metrics show the store and the circuit breakers.
func (d *delivering) watch(metrics *admin.Metrics, clock *adapter.Clock) {
	if d.store == nil {
		return
	}
	metrics.WatchStore(d.store, d.ready, clock.Now)
	metrics.WatchSkew(d.store.Skew)
	metrics.WatchWriteAheadLog(d.store.LogSize)
	states := make(map[string]func() delivery.BreakerState, len(d.breakers))
	for connection, breaker := range d.breakers {
		states[connection] = breaker.State
	}
	metrics.WatchBreakers(states)
}

func clientOptions(conn *config.Connection) saasquatch.Options {
	return saasquatch.Options{
		BaseURL:        conn.SaaSquatch.BaseURL,
		TenantAlias:    conn.SaaSquatch.TenantAlias,
		APIKey:         conn.SaaSquatch.APIKey,
		UserName:       conn.SaaSquatch.UserName,
		Concurrency:    conn.SaaSquatch.Concurrency,
		AttemptTimeout: conn.SaaSquatch.AttemptTimeout,
		UserAgent:      "segment-saasquatch/" + strings.Fields(buildVersion())[0],
	}
}

// newBreaker returns the circuit breaker of a connection's tenant. Connections to one tenant share
// it, with the limits of the first.
func newBreaker(s *service, conn *config.Connection) *delivery.Breaker {
	opts := delivery.BreakerOptions{
		Floor:     conn.SaaSquatch.MinConcurrency,
		Ceiling:   conn.SaaSquatch.Concurrency,
		RateLimit: conn.SaaSquatch.RateLimit,
		OnChange:  s.logBreaker(conn.SaaSquatch.TenantAlias),
	}
	if s.cfg.Delivery == config.DeliveryDirect {
		opts.ForeignRest = -1
	}
	return delivery.NewBreaker(opts)
}

// addDirect has the events of a connection delivered before the answer.
func (d *delivering) addDirect(s *service, conn *config.Connection, sender adapter.Sender, breaker *delivery.Breaker) {
	retrier := delivery.NewRetrier(sender, breaker, delivery.RetrierOptions{})
	direct := delivery.NewDirect(d.mappers[conn.Name], retrier, delivery.DirectOptions{
		Budget:  s.cfg.AnswerBudget,
		Now:     s.clock.Now,
		Record:  s.record(conn.Name),
		OnPanic: s.logPanic,
	})
	d.direct = append(d.direct, direct)
	d.acceptors[conn.Name] = direct
}

// tenantOf returns the name of a connection's tenant in the store.
func tenantOf(conn *config.Connection) string {
	return adapter.TenantName(conn.SaaSquatch.BaseURL, conn.SaaSquatch.TenantAlias)
}

// addDurable stores the events of a connection before the answer, and delivers them in a dispatcher of its own.
func (d *delivering) addDurable(
	ctx, running context.Context, s *service, conn *config.Connection, sender adapter.Sender,
	breaker *delivery.Breaker,
) error {
	tenant := tenantOf(conn)
	d.tenants[conn.Name] = tenant
	queue, err := d.store.Connection(ctx, conn.Name, tenant)
	if err != nil {
		return err
	}
	d.acceptors[conn.Name] = delivery.NewDurable(d.mappers[conn.Name], queue, delivery.DurableOptions{
		Now:     s.clock.Now,
		Record:  s.record(conn.Name),
		OnPanic: s.logPanic,
	})
	onError := func(err error) { s.log.Error("deliver", zap.String("connection", conn.Name), zap.Error(err)) }
	dispatcher := delivery.NewDispatcher(d.mappers[conn.Name], sender, breaker, queue, delivery.DispatcherOptions{
		Horizon:        s.cfg.RetryHorizon,
		UnkeyedDead:    s.cfg.UnkeyedAmbiguous == config.UnkeyedDead,
		Concurrency:    conn.SaaSquatch.Concurrency,
		Bulk:           conn.SaaSquatch.Bulk,
		AttemptTimeout: conn.SaaSquatch.AttemptTimeout,
		Now:            s.clock.Now,
		Record:         s.record(conn.Name),
		OnPanic:        s.logPanic,
		OnError:        onError,
	})
	d.dispatchers.Go(func() {
		if err := dispatcher.Run(running); err != nil {
			onError(err)
		}
	})
	return nil
}

// logHeld logs the pending events that are held, with the remedy. Each of them may be a reward that a customer
// waits for.
func (d *delivering) logHeld(ctx context.Context, log *zap.Logger) {
	if d.store == nil {
		return
	}
	backlogs, err := d.store.Backlog(ctx)
	if err != nil {
		log.Error("look for held events", zap.Error(err))
		return
	}
	for i := range backlogs {
		b := &backlogs[i]
		for k := range b.Held {
			h := &b.Held[k]
			fields := []zap.Field{
				zap.String("connection", b.Connection), zap.String("reason", string(h.Reason)),
				zap.Int64("events", h.Events), zap.String("tenant", h.Tenant),
			}
			if present, ok := d.tenants[b.Connection]; ok {
				fields = append(fields, zap.String("present_tenant", present))
			}
			log.Warn("pending events are held", append(fields, zap.String("remedy", h.Remedy()))...)
		}
	}
}

// operations returns the operations on deliveries, nil for direct delivery.
func (d *delivering) operations() adapter.Operations {
	if d.store == nil {
		return nil
	}
	return delivery.NewOperations(d.store, d.mappers, d.tenants)
}

// replays returns the store of runs, nil for direct delivery.
func (d *delivering) replays() adapter.RunStore {
	if d.store == nil {
		return nil
	}
	return d.store
}

// ready returns why events cannot be accepted, nil if they can.
func (d *delivering) ready() error {
	if d.store == nil {
		return nil
	}
	return d.store.Ready()
}

// drain waits for the attempts in flight, until ctx ends.
func (d *delivering) drain(ctx context.Context) error {
	d.stop()
	var errs []error
	for _, direct := range d.direct {
		errs = append(errs, direct.Stop(ctx))
	}
	done := make(chan struct{})
	go func() {
		d.dispatchers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("wait for attempts in flight: %w", ctx.Err()))
	}
	return errors.Join(errs...)
}

// close ends the rest after drain. The outcomes of attempts still in flight are not recorded: their events are
// delivered again.
func (d *delivering) close() error {
	d.stop()
	d.looking.Wait()
	if d.store == nil {
		return nil
	}
	return d.store.Close()
}
