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
	// codes are SQLSTATEs with spaces between them. One of two characters is a class.
	codes string
	// message is for senders; see adapter.UnavailableError. A condition without a message only keeps the store from
	// opening.
	message string
	// remedy is for the operator.
	remedy string
}

const (
	unreachable = "the store cannot be reached"
	unwritable  = "the store cannot be written to"
	// readOnlyRemedy is for a database that refuses writes.
	readOnlyRemedy = "it is a standby, or default_transaction_read_only is on: name the primary in the store's URL; " +
		"with several hosts, add target_session_attrs=read-write"
	// grantsRemedy is for a user who lacks the grants that a server needs.
	grantsRemedy = "grant the user in the store's URL SELECT, INSERT, UPDATE and DELETE on all tables of the store, " +
		"and USAGE on its sequences; to make and migrate the tables it needs USAGE and CREATE on their schema"
)

// postgresCauses are the conditions that have a known remedy. The first with the code is taken, and a class comes
// after its codes.
var postgresCauses = []postgresCause{
	{"53300", "the store is overloaded",
		"the server, the database or the role has no connection left: lower pool_max_conns in the store's URL, " +
			"raise max_connections or the CONNECTION LIMIT, or put a pooler in between"},
	{"53100", "the disk of the store is full",
		"make room on the disk of the PostgreSQL server; the store goes on by itself"},
	{"53", "the store is overloaded", "give the PostgreSQL server more of the resource that it names"},
	{"25006", unwritable, readOnlyRemedy},
	{"42501", unwritable, grantsRemedy},
	{"3D000", unreachable,
		"the database is not there: CREATE DATABASE it with ENCODING 'UTF8', " +
			"or correct its name in the store's URL"},
	{"28P01", unreachable,
		"correct user and password in the store's URL, with special characters percent-encoded (@ is %40)"},
	{"28000", unreachable,
		"the server does not let this user in from here: see its pg_hba.conf, " +
			"that the role exists and may LOGIN, and add sslmode=require to the store's URL if it demands TLS"},
	{"3F000", unwritable, ErrNoSchema.Error()},
	{"42P01 42703", unwritable,
		"a table or column of the store is not where search_path leads: correct search_path in the store's URL, " +
			"of the role or of the database, or restore what was dropped, and restart"},
	{"42P07 42710", "",
		"another program has a table of that name: give the store a schema of its own (search_path) or a database"},
	{"42704 22023", "",
		"the store's URL has a parameter that PostgreSQL does not know, or a wrong value of one: " +
			"correct or remove it"},
	{"57014", "the store takes too long",
		"statement_timeout ends its statements, or an operator does: " +
			"ALTER ROLE … SET statement_timeout = '60s', or add statement_timeout=60000 to the store's URL, " +
			"and look for locks that other programs hold"},
	{"55P03", "the store takes too long",
		"lock_timeout ends its statements: ALTER ROLE … SET lock_timeout = 0, " +
			"and look for locks that other programs hold"},
	{"25P03 25P04 57P05", unreachable,
		"a timeout of the server ends its sessions: " +
			"ALTER ROLE … SET idle_in_transaction_session_timeout = '60s', " +
			"and transaction_timeout and idle_session_timeout likewise"},
	{"57P03", unreachable, "the server starts, stops or recovers: wait, or see its log"},
	{"42P05 26000", unreachable,
		"a pooler hands out sessions of other clients: have it pool transactions or sessions " +
			"(pool_mode = transaction or session)"},
	{"08P01", unreachable,
		"a pooler in between refuses that: see its log. Parameters in the store's URL that it does not take, " +
			"such as options or search_path, are for ALTER ROLE … SET; its pool_mode is transaction or session; " +
			"it needs pool_max_conns connections for each process"},
	{"57 08", unreachable, "see that PostgreSQL runs, and its log"},
	{"58 XX", "the store reports an error", "see the log of the PostgreSQL server, and its disk"},
}

// postgresCauseOf returns the cause of an error, nil if none is known.
func postgresCauseOf(err error) *postgresCause {
	var fault *pgconn.PgError
	if errors.As(err, &fault) {
		for i := range postgresCauses {
			for code := range strings.FieldsSeq(postgresCauses[i].codes) {
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
		return &postgresCause{message: unreachable, remedy: "see that PostgreSQL runs, " +
			"and that the store's URL has the " +
			"right host, port and sslmode"}
	}
	return nil
}

// networkRemedy returns the remedy for an error of the network or of TLS, empty if none is known.
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

// explain returns the fault of the database, nil for a fault of this program.
func (e *postgresEngine) explain(err error) *adapter.UnavailableError {
	if errors.As(err, new(*unknownCommitError)) {
		return nil // the changes may be stored
	}
	c := postgresCauseOf(err)
	if c == nil || c.message == "" {
		return nil
	}
	return &adapter.UnavailableError{Message: c.message, Err: fmt.Errorf("%w: %s", err, c.remedy)}
}

// remedy adds the remedy to an error on opening.
func (e *postgresEngine) remedy(err error) error {
	if c := postgresCauseOf(err); c != nil {
		return fmt.Errorf("%w: %s", err, c.remedy)
	}
	return err
}
