package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// Bounds of the connections to PostgreSQL.
const (
	// defaultPostgresConnections serve the committers, leases, operators and the rest. pool_max_conns in the store's
	// URL sets another number.
	defaultPostgresConnections = 2*postgresCommitters + 4
	// minPostgresConnections are one for commits, one for leases and one for the rest.
	minPostgresConnections = 3
	// maxPostgresConnections exceed what any server grants one process.
	maxPostgresConnections = 1000
	connectTimeout         = 10 * time.Second
)

// sslModes are those of PostgreSQL's own clients.
var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// urlRemedy is for a text that is no URL of a database.
const urlRemedy = "write postgres://user:password@host:5432/database"

// parsePostgres reads the URL of the store. Its errors name parameters and never the rest of
// the URL, which may hold a password.
func parsePostgres(text string) (*pgxpool.Config, error) {
	parsed, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, urlFault(text, err)
	}
	connections := defaultPostgresConnections
	if value, ok := parsed.RuntimeParams["pool_max_conns"]; ok {
		connections, err = strconv.Atoi(value)
		if err != nil || connections < minPostgresConnections || connections > maxPostgresConnections {
			return nil, fmt.Errorf("pool_max_conns in the store's URL is not a number from %d to %d: "+
				"the store needs %d connections or more, so set it to at least that, or leave it out for %d",
				minPostgresConnections, maxPostgresConnections, minPostgresConnections, defaultPostgresConnections)
		}
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, errors.New("a parameter of the store's URL that begins with pool_ has no valid value: " +
			"numbers are such as pool_max_conns=12, times such as pool_max_conn_lifetime=1h")
	}
	config.MaxConns = int32(connections)
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	return config, nil
}

// application is the application_name of a server's sessions.
const application = "segment-saasquatch"

// urlFault describes the fault of a URL that cannot be read.
func urlFault(text string, err error) error {
	mode := os.Getenv("PGSSLMODE")
	if u, parseErr := url.Parse(text); parseErr == nil {
		mode = cmp.Or(u.Query().Get("sslmode"), mode)
	}
	var file *os.PathError
	switch {
	case mode != "" && !slices.Contains(sslModes, mode):
		return fmt.Errorf("sslmode in the store's URL is not a mode of PostgreSQL: write one of %s",
			strings.Join(sslModes, ", "))
	case errors.As(err, &file):
		return fmt.Errorf("a file that the store's URL names (sslrootcert, sslcert, sslkey or passfile) "+
			"cannot be read: "+
			"%w: put it there, readable by the user of this process, or correct the path", file)
	case mode != "" && mode != "disable":
		return errors.New("the store's URL, or the certificates and keys that it names, cannot be read: " + urlRemedy +
			"?sslmode=verify-full&sslrootcert=FILE, with certificates in PEM; sslcert and sslkey only go together")
	default:
		return errors.New("the URL of the PostgreSQL database cannot be read: " + urlRemedy)
	}
}

// connectPostgres connects and changes nothing.
func connectPostgres(ctx context.Context, opts Options) (*postgresEngine, error) {
	config, err := parsePostgres(opts.URL.Reveal())
	if err != nil {
		return nil, err
	}
	config.ConnConfig.RuntimeParams["application_name"] = cmp.Or(opts.application, application)
	var detected pooler
	detected.found.Store(opts.pooled)
	config.BeforeConnect = detected.beforeConnect
	config.AfterConnect = detected.afterConnect
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	committers := min(postgresCommitters, max(1, (int(config.MaxConns)-2)/2))
	e := &postgresEngine{
		pool: pool, db: stdlib.OpenDBFromPool(pool), operators: opts.forOperators(),
		slots:  newSlots(int(config.MaxConns), opts.OnRefused),
		shards: make(chan int64, committers), leaseFor: cmp.Or(opts.leaseFor, leaseFor), owner: newLeaseOwner(),
		fillFor:    cmp.Or(opts.fillFor, fillFor),
		resolveFor: cmp.Or(opts.resolveFor, resolveTimeout), databaseNow: opts.databaseNow,
		readSlots: map[readKind]chan struct{}{
			shortRead: make(chan struct{}, max(1, config.MaxConns/4)),
			longRead:  make(chan struct{}, min(longReads, max(1, config.MaxConns/4))),
		},
	}
	first := rand.Int64N(totalsShards)
	for i := range int64(committers) {
		e.shards <- (first + i) % totalsShards
	}
	if err := e.useConnection(ctx, func() error { return pool.Ping(ctx) }); err != nil {
		return nil, errors.Join(e.remedy(err), e.close())
	}
	return e, nil
}

// pooler records whether a pooler such as PgBouncer stands between the store and PostgreSQL. With a pooler, each
// transaction may use another server connection, where a statement prepared earlier does not exist. Statements are
// then prepared each time, without a name.
//
// A direct connection is faster with named statements: BenchmarkUnnamedStatements.
type pooler struct{ found atomic.Bool }

// errPoolerFound closes a connection that was made before the pooler was detected.
var errPoolerFound = errors.New("there is a pooler before PostgreSQL")

func (p *pooler) beforeConnect(_ context.Context, config *pgx.ConnConfig) error {
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	if p.found.Load() {
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	return nil
}

// afterConnect compares the process number that the connection was given with that of the process that answers. A
// pooler gives a number of its own.
func (p *pooler) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	if conn.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheDescribe {
		return nil
	}
	results, err := conn.PgConn().Exec(ctx, `SELECT pg_backend_pid()`).ReadAll()
	if err != nil {
		return err
	}
	if string(results[0].Rows[0][0]) == strconv.FormatUint(uint64(conn.PgConn().PID()), 10) {
		return nil
	}
	p.found.Store(true)
	return errPoolerFound
}

// checkDatabase returns an error if the database does not store every text unchanged.
func (e *postgresEngine) checkDatabase(ctx context.Context) error {
	var server, client string
	err := e.useConnection(ctx, func() error {
		return e.pool.QueryRow(ctx, `SELECT current_setting('server_encoding'), current_setting('client_encoding')`).
			Scan(&server, &client)
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the encoding of the database: %w", err)
	case server != "UTF8":
		return fmt.Errorf("the database has the encoding %s, which does not keep every text: "+
			"make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, "+
			"and name it in the store's URL", server)
	case client != "UTF8":
		return fmt.Errorf("the role or the database sets client_encoding to %s, which does not keep every text: "+
			"ALTER ROLE … RESET client_encoding, or ALTER DATABASE … RESET client_encoding", client)
	}
	return nil
}

// isLost reports whether an established connection was lost, so that the same may succeed on another one.
func isLost(err error) bool {
	if errors.As(err, new(*pgconn.ConnectError)) || pgconn.Timeout(err) {
		return false
	}
	var fault *pgconn.PgError
	if errors.As(err, &fault) {
		return slices.Contains(lostCodes, fault.Code) || strings.HasPrefix(fault.Code, "08")
	}
	return errors.Is(err, errPoolerFound) || isNetwork(err)
}

// lostCodes are the ends of a session: by an operator, by a crash of another process of the server, or by a timeout
// of an idle session or a long transaction.
var lostCodes = []string{"57P01", "57P02", "57P05", "25P03", "25P04"}
