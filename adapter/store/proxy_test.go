package store_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// commitFault is what happens to a COMMIT on its way to PostgreSQL. Each loses the
// connection of the client.
type commitFault int

const (
	replyLost        commitFault = iota + 1 // PostgreSQL has committed
	commitLost                              // PostgreSQL never sees it
	commitLate                              // PostgreSQL sees it once another transaction waits for it
	replyLostAndDown                        // as replyLost, and no connection goes through until up is called
)

var commitFaults = []commitFault{replyLost, commitLost, commitLate}

// proxy stands between a store and PostgreSQL.
type proxy struct {
	t        testing.TB
	target   string
	database *sql.DB // not through the proxy

	mu      sync.Mutex
	down    bool
	clients map[net.Conn]struct{}
	choose  func() commitFault // for each COMMIT, 0 for none
	links   sync.WaitGroup
}

// throughProxy returns the options of a store that reaches its database through a proxy.
func throughProxy(t testing.TB, opts store.Options) (store.Options, *proxy) {
	t.Helper()
	source, err := url.Parse(opts.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	database, err := sql.Open("pgx", opts.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		t: t, target: net.JoinHostPort(source.Hostname(), cmp.Or(source.Port(), "5432")), database: database,
		clients: make(map[net.Conn]struct{}), choose: func() commitFault { return 0 },
	}
	p.links.Go(func() { p.listen(listener) })
	t.Cleanup(func() {
		_ = listener.Close()
		p.cutAll()
		p.links.Wait()
		_ = database.Close()
	})
	source.Host = listener.Addr().String()
	query := source.Query()
	query.Set("sslmode", "disable")
	source.RawQuery = query.Encode()
	opts.URL = adapter.NewSecret(source.String())
	return opts, p
}

// onCommit has a function choose the fault of each COMMIT, 0 for none.
func (p *proxy) onCommit(choose func() commitFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choose = choose
}

// every has every n-th COMMIT meet the faults in turn.
func (p *proxy) every(n int, faults ...commitFault) {
	commits := 0
	p.onCommit(func() commitFault {
		if commits++; commits%n > 0 {
			return 0
		}
		return faults[commits/n%len(faults)]
	})
}

// once has the n-th COMMIT from now on meet the fault.
func (p *proxy) once(n int, fault commitFault) {
	commits := 0
	p.onCommit(func() commitFault {
		if commits++; commits == n {
			return fault
		}
		return 0
	})
}

// off has no further COMMIT meet a fault.
func (p *proxy) off() { p.onCommit(func() commitFault { return 0 }) }

// up lets connections through again.
func (p *proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

func (p *proxy) listen(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.down {
			_ = client.Close()
		} else {
			p.clients[client] = struct{}{}
			p.links.Go(func() { p.link(client) })
		}
		p.mu.Unlock()
	}
}

func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client := range p.clients {
		_ = client.Close()
	}
}

// fault returns that of a COMMIT.
func (p *proxy) fault() commitFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := p.choose()
	if fault == replyLostAndDown {
		p.down = true
	}
	return fault
}

// link passes the messages of a connection on.
func (p *proxy) link(client net.Conn) {
	defer func() {
		_ = client.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.clients, client)
	}()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	losing := make(chan struct{})   // closed before a COMMIT with a fault is passed on
	answered := make(chan struct{}) // closed once PostgreSQL has answered it
	p.links.Go(func() {
		defer close(answered)
		defer func() { _ = client.Close() }() // ends the loop below
		from := bufio.NewReader(server)
		for {
			message, err := readMessage(from, 1)
			if err != nil {
				return
			}
			select {
			case <-losing:
				if message[0] == 'Z' { // ready for query
					return
				}
			default:
				if _, err := client.Write(message); err != nil {
					return
				}
			}
		}
	})
	from := bufio.NewReader(client)
	for kind := 0; ; kind = 1 { // the first message has no kind
		message, err := readMessage(from, kind)
		if err != nil {
			return
		}
		fault := commitFault(0)
		if kind == 1 && message[0] == 'Q' && bytes.Equal(message[5:], []byte("commit\x00")) {
			fault = p.fault()
		}
		switch fault {
		case commitLost:
			return
		case commitLate:
			close(losing)
			_ = client.Close()
			p.awaitWaiting()
		case replyLost, replyLostAndDown:
			close(losing)
		}
		if _, err := server.Write(message); err != nil {
			return
		}
		if fault != 0 {
			<-answered
			if fault == replyLostAndDown {
				p.cutAll()
			}
			return
		}
	}
}

// readMessage returns a message with its header: one byte of kind, except for the first one
// of a client, and four of length.
func readMessage(from io.Reader, kind int) ([]byte, error) {
	message := make([]byte, kind+4)
	if _, err := io.ReadFull(from, message); err != nil {
		return nil, err
	}
	header := len(message)
	message = slices.Grow(message, int(binary.BigEndian.Uint32(message[kind:])))
	message = message[:header-4+int(binary.BigEndian.Uint32(message[kind:]))]
	_, err := io.ReadFull(from, message[header:])
	return message, err
}

// awaitWaiting waits until a transaction waits for a lock in the database.
func (p *proxy) awaitWaiting() {
	came := comesTrue(func() (waiting bool) {
		err := p.database.QueryRowContext(context.Background(), `SELECT EXISTS (
			SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).
			Scan(&waiting)
		return err != nil || waiting
	})
	if !came {
		p.t.Error("no transaction waits for the one that is being committed")
	}
}
