package store

import (
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter"
)

// postgresCause is a condition that keeps a PostgreSQL store from working.
type postgresCause struct {
	// codes are SQLSTATEs. One of two characters is a class.
	codes []string
	// message is for senders; see adapter.UnavailableError. Without one the condition only
	// keeps the store from opening.
	message string
	// remedy is for the operator.
	remedy string
}

const (
	unreachable = "the store cannot be reached"
	unwritable  = "the store cannot be written to"
	// readOnlyRemedy is for a database that takes no writes.
	readOnlyRemedy = "it is a standby, or default_transaction_read_only is on: name the primary in the store's URL; " +
		"with several hosts, add target_session_attrs=read-write"
	// grantsRemedy is for a user who may not do what a server does.
	grantsRemedy = "grant the user in the store's URL SELECT, INSERT, UPDATE and DELETE on all tables of the store, " +
		"and USAGE on its sequences; to make and migrate the tables it needs USAGE and CREATE on their schema"
)

// postgresCauses are the conditions that a remedy is known for. The first with the code is
// taken, and a class comes after its codes.
var postgresCauses = []postgresCause{
	{
		codes: []string{"53300"}, message: "the store is overloaded",
		remedy: "the server, the database or the role has no connection left: lower pool_max_conns in the store's URL, " +
			"raise max_connections or the CONNECTION LIMIT, or put a pooler in between",
	},
	{
		codes: []string{"53100"}, message: "the disk of the store is full",
		remedy: "make room on the disk of the PostgreSQL server; the store goes on by itself",
	},
	{
		codes: []string{"53"}, message: "the store is overloaded",
		remedy: "give the PostgreSQL server more of the resource that it names",
	},
	{
		codes: []string{"25006"}, message: unwritable,
		remedy: readOnlyRemedy,
	},
	{codes: []string{"42501"}, message: unwritable, remedy: grantsRemedy},
	{
		codes: []string{"3D000"}, message: unreachable,
		remedy: "the database is not there: CREATE DATABASE it with ENCODING 'UTF8', " +
			"or correct its name in the store's URL",
	},
	{
		codes: []string{"28P01"}, message: unreachable,
		remedy: "correct user and password in the store's URL, with special characters percent-encoded (@ is %40)",
	},
	{
		codes: []string{"28000"}, message: unreachable,
		remedy: "the server does not let this user in from here: see its pg_hba.conf, " +
			"that the role exists and may LOGIN, and add sslmode=require to the store's URL if it demands TLS",
	},
	{
		codes: []string{"3F000"}, message: unwritable,
		remedy: ErrNoSchema.Error(),
	},
	{
		codes: []string{"42P01", "42703"}, message: unwritable,
		remedy: "a table or column of the store is not where search_path leads: correct search_path in the store's URL, " +
			"of the role or of the database, or restore what was dropped, and restart",
	},
	{
		codes:  []string{"42P07", "42710"},
		remedy: "another program has a table of that name: give the store a schema of its own (search_path) or a database",
	},
	{
		codes: []string{"42704", "22023"},
		remedy: "the store's URL has a parameter that PostgreSQL does not know, or a wrong value of one: " +
			"correct or remove it",
	},
	{
		codes: []string{"57014"}, message: "the store takes too long",
		remedy: "statement_timeout ends its statements, or an operator does: " +
			"ALTER ROLE … SET statement_timeout = '60s', or add statement_timeout=60000 to the store's URL, " +
			"and look for locks that other programs hold",
	},
	{
		codes: []string{"55P03"}, message: "the store takes too long",
		remedy: "lock_timeout ends its statements: ALTER ROLE … SET lock_timeout = 0, " +
			"and look for locks that other programs hold",
	},
	{
		codes: []string{"25P03", "25P04", "57P05"}, message: unreachable,
		remedy: "a timeout of the server ends its sessions: " +
			"ALTER ROLE … SET idle_in_transaction_session_timeout = '60s', and transaction_timeout and idle_session_timeout likewise",
	},
	{
		codes: []string{"57P03"}, message: unreachable,
		remedy: "the server starts, stops or recovers: wait, or see its log",
	},
	{
		codes: []string{"42P05", "26000"}, message: unreachable,
		remedy: "a pooler hands out sessions of other clients: have it pool transactions or sessions " +
			"(pool_mode = transaction or session)",
	},
	{
		codes: []string{"08P01"}, message: unreachable,
		remedy: "a pooler in between refuses that: see its log. Parameters in the store's URL that it does not take, " +
			"such as options or search_path, are for ALTER ROLE … SET; its pool_mode is transaction or session; " +
			"it needs pool_max_conns connections for each process",
	},
	{
		codes: []string{"57", "08"}, message: unreachable,
		remedy: "see that PostgreSQL runs, and its log",
	},
	{
		codes: []string{"58", "XX"}, message: "the store reports an error",
		remedy: "see the log of the PostgreSQL server, and its disk",
	},
}

// postgresCauseOf returns the cause of an error, nil if none is known.
func postgresCauseOf(err error) *postgresCause {
	var fault *pgconn.PgError
	if errors.As(err, &fault) {
		for i := range postgresCauses {
			for _, code := range postgresCauses[i].codes {
				if strings.HasPrefix(fault.Code, code) {
					return &postgresCauses[i]
				}
			}
		}
		return nil
	}
	if remedy := networkRemedy(err); remedy != "" {
		return &postgresCause{message: unreachable, remedy: remedy}
	}
	if errors.As(err, new(*pgconn.ConnectError)) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) || isNetwork(err) {
		return &postgresCause{message: unreachable, remedy: "see that PostgreSQL runs, and that the store's URL has the " +
			"right host, port and sslmode"}
	}
	return nil
}

// networkRemedy returns what can be done about an error of the network or of TLS.
func networkRemedy(err error) string {
	var unknown *net.DNSError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "the server's certificate is not of an authority in sslrootcert: " +
			"name the file with the certificate of the authority that issued it"
	case errors.As(err, new(x509.HostnameError)):
		return "the server's certificate is for another host: write that name in the store's URL, " +
			"or sslmode=verify-ca if the authority issues certificates for this server alone"
	case errors.As(err, new(x509.CertificateInvalidError)):
		return "renew the server's certificate, and see that the clocks are right"
	case errors.As(err, &unknown):
		return "see that the store's URL has the right host, and that this machine can resolve it"
	case errors.Is(err, unix.ECONNREFUSED):
		return "see that PostgreSQL runs and listens at that address (listen_addresses, port), " +
			"and that the store's URL has the right host and port"
	default:
		return ""
	}
}

// isNetwork reports whether a connection broke.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) && !network.Timeout() ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, driver.ErrBadConn)
}

// explain tells a database that is out of order from a fault of ours.
func (e *postgresEngine) explain(err error) *adapter.UnavailableError {
	if errors.As(err, new(*unknownCommitError)) {
		return nil // it does not say that nothing was stored
	}
	c := postgresCauseOf(err)
	if c == nil || c.message == "" {
		return nil
	}
	return &adapter.UnavailableError{Message: c.message, Err: fmt.Errorf("%w: %s", err, c.remedy)}
}

// remedy adds to an error on opening what can be done about it.
func (e *postgresEngine) remedy(err error) error {
	if c := postgresCauseOf(err); c != nil {
		return fmt.Errorf("%w: %s", err, c.remedy)
	}
	return err
}
