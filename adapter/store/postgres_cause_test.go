package store_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestPostgresFaults opens a store that PostgreSQL keeps from working, in each way that has
// a remedy of its own.
func TestPostgresFaults(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	stored := postgresOptions(t)
	if err := open(t, stored).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, opts)
	with := func(name, value string) store.Options { return withParameter(t, opts, name, value) }
	// database makes one and has a statement prepare it.
	database := func(statement string) store.Options {
		opts := postgresOptions(t)
		execute(t, raw(t, opts), statement)
		return opts
	}
	encoded := func(encoding string) store.Options {
		name := "test_" + strings.ToLower(rand.Text())
		execute(t, db,
			`CREATE DATABASE `+name+` ENCODING '`+encoding+`' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
		t.Cleanup(func() { execute(t, db, `DROP DATABASE `+name+` WITH (FORCE)`) })
		return withURL(t, opts, func(u *url.URL) { u.Path = "/" + name })
	}
	role := func(of store.Options, attributes string, statements ...string) store.Options {
		database := raw(t, of)
		limited, name := newRole(t, of, database, attributes)
		for _, statement := range statements {
			execute(t, database, strings.ReplaceAll(statement, "NAME", name))
		}
		return limited
	}
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, db, `CREATE SCHEMA secret`)
	for name, test := range map[string]struct {
		opts store.Options
		want []string
	}{
		"missing search_path": {with("search_path", "nowhere"),
			[]string{"search_path names no schema", "CREATE SCHEMA"}},
		"forbidden search_path": {withParameter(t, role(opts, ""), "search_path", "secret"),
			[]string{"search_path names no schema", "grant USAGE and CREATE"}},
		"no CREATE on schema": {role(opts, "", `GRANT USAGE ON SCHEMA secret TO NAME`,
			`ALTER ROLE NAME SET search_path = secret`),
			[]string{"42501", "USAGE and CREATE"}},
		"no grants": {role(stored, "", `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM NAME`),
			[]string{"42501", "grant the user", "DELETE"}},
		"foreign schema_version": {database(`CREATE TABLE schema_version (installed_rank int, version text)`),
			[]string{"schema_version, are another program's", "search_path"}},
		"versions of another": {database(`CREATE TABLE schema_version AS SELECT 99 AS version_id, true AS is_applied`),
			[]string{"schema_version, are another program's"}},
		"foreign table": {database(`CREATE TABLE queue (job text)`),
			[]string{"42P07", "another program has a table", "search_path"}},
		"missing sslrootcert": {with("sslrootcert", filepath.Join(dir, "absent.pem")),
			[]string{"absent.pem", "sslrootcert", "readable by the user"}},
		"garbage as sslrootcert": {withParameter(t, with("sslmode", "verify-full"), "sslrootcert", garbage),
			[]string{"certificates in PEM"}},
		"misspelt sslmode":   {with("sslmode", "verify_full"), []string{"sslmode", "verify-full"}},
		"misspelt parameter": {with("aplicationname", "x"), []string{"42704", "correct or remove"}},
		"misspelt value":     {with("statement_timeout", "soon"), []string{"22023", "correct or remove"}},
		"misspelt pool parameter": {with("pool_max_conn_lifetime", "long"),
			[]string{"pool_", "such as pool_max_conns=12"}},
		"limit of the role": {role(opts, "CONNECTION LIMIT 0"), []string{"53300", "CONNECTION LIMIT"}},
		"LATIN1":            {encoded("LATIN1"), []string{"encoding LATIN1", "ENCODING 'UTF8'"}},
		"SQL_ASCII":         {encoded("SQL_ASCII"), []string{"encoding SQL_ASCII", "ENCODING 'UTF8'"}},
		"client_encoding": {role(opts, "", `ALTER ROLE NAME SET client_encoding = latin1`),
			[]string{"client_encoding", "RESET"}},
		"missing database": {withURL(t, opts, func(u *url.URL) { u.Path = "/nowhere" }),
			[]string{"3D000", "CREATE DATABASE"}},
		"missing role": {withURL(t, opts, func(u *url.URL) { u.User = url.UserPassword("norole", "hunter2") }),
			[]string{"28000", "the role exists"}},
		"read-only": {role(stored, "", `GRANT ALL ON ALL TABLES IN SCHEMA public TO NAME`,
			`ALTER ROLE NAME SET default_transaction_read_only = on`),
			[]string{"25006", "name the primary"}},
		"read-only, without store": {role(opts, "", `GRANT ALL ON SCHEMA public TO NAME`,
			`ALTER ROLE NAME SET default_transaction_read_only = on`),
			[]string{"25006", "name the primary"}},
		"wrong password": {fakeServer(t, nil, "28P01"), []string{"28P01", "percent-encoded"}},
		"no entry in pg_hba.conf": {fakeServer(t, nil, "28000"),
			[]string{"28000", "pg_hba.conf", "sslmode=require"}},
		"starting": {fakeServer(t, nil, "57P03"), []string{"57P03", "wait"}},
		"no TLS": {withParameter(t, fakeServer(t, nil, "28000"), "sslmode", "require"),
			[]string{"refused TLS", "sslmode"}},
		"wrong authority":        {wrongAuthority(t, dir), []string{"not of an authority in sslrootcert"}},
		"certificate of another": {certificateOfAnother(t, dir), []string{"for another host", "verify-ca"}},
		"nothing listens": {withURL(t, opts, func(u *url.URL) { u.Host = "127.0.0.1:1" }),
			[]string{"PostgreSQL runs and listens"}},
		"unknown host": {withURL(t, opts, func(u *url.URL) { u.Host = "nowhere.invalid" }),
			[]string{"right host"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			s, err := store.Open(ctx, test.opts)
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// TestPostgresFaultsLater has a store that is open meet a fault, and get over it.
func TestPostgresFaultsLater(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, opts)
	db.SetMaxOpenConns(1)
	for name, test := range map[string]struct {
		begin, end, want string
		opts             store.Options
	}{
		"statement_timeout": {`BEGIN; LOCK TABLE queue IN SHARE MODE`, `ROLLBACK`, "statement_timeout",
			withParameter(t, opts, "statement_timeout", "100")},
		"lock_timeout": {`BEGIN; LOCK TABLE queue IN SHARE MODE`, `ROLLBACK`, "lock_timeout",
			withParameter(t, opts, "lock_timeout", "100")},
		"table gone": {`ALTER TABLE queue RENAME TO gone`, `ALTER TABLE gone RENAME TO queue`, "search_path", opts},
	} {
		s := open(t, store.WithPatience(test.opts, time.Second))
		q := connection(t, s, "default", "tenant")
		execute(t, db, test.begin)
		err := q.Accept(context.Background(), []adapter.Arrival{event("message-" + name)})
		unavailable, ok := errors.AsType[*adapter.UnavailableError](err)
		if !ok || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(unavailable.Message, "reached") {
			t.Errorf("%s: the sender is told that %s", name, unavailable.Message)
		}
		execute(t, db, test.end)
		acceptWhenReady(t, q, event("message-"+name))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// withURL returns the options with another URL.
func withURL(t testing.TB, opts store.Options, change func(*url.URL)) store.Options {
	t.Helper()
	u, err := url.Parse(opts.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	opts.URL = adapter.NewSecret(u.String())
	return opts
}

// fakeServer returns the options of a store whose server answers each connection with an
// error, over TLS if it has a certificate.
func fakeServer(t testing.TB, certificate *tls.Certificate, code string) store.Options {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answerWith(conn, certificate, code)
			_ = conn.Close()
		}
	}()
	return store.Options{URL: adapter.NewSecret("postgres://user:hunter2@" + listener.Addr().String() +
		"/x?sslmode=disable")}
}

// answerWith answers a client with an error.
func answerWith(conn net.Conn, certificate *tls.Certificate, code string) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	backend := pgproto3.NewBackend(conn, conn)
	message, err := backend.ReceiveStartupMessage()
	if _, ok := message.(*pgproto3.SSLRequest); ok && err == nil {
		if certificate == nil {
			_, _ = conn.Write([]byte("N"))
			return
		}
		_, _ = conn.Write([]byte("S"))
		// the client ends it
		_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*certificate}}).Handshake()
		return
	}
	backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"})
	_ = backend.Flush()
}

// wrongAuthority has a server whose certificate is of another authority than the store
// knows.
func wrongAuthority(t testing.TB, dir string) store.Options {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	authority, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return withAuthority(t, filepath.Join(dir, "wrong.pem"), authority, serverCertificate(t))
}

// certificateOfAnother has a server that is called by another name than its certificate has.
func certificateOfAnother(t testing.TB, dir string) store.Options {
	t.Helper()
	certificate := serverCertificate(t)
	opts := withAuthority(t, filepath.Join(dir, "right.pem"), certificate.Certificate[0], certificate)
	return withURL(t, opts, func(u *url.URL) { u.Host = "localhost:" + u.Port() })
}

// serverCertificate is for 127.0.0.1.
func serverCertificate(t testing.TB) *tls.Certificate {
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	return &server.TLS.Certificates[0]
}

// withAuthority returns the options of a store that trusts an authority, and whose server
// has a certificate.
func withAuthority(t testing.TB, path string, authority []byte, certificate *tls.Certificate) store.Options {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	opts := withParameter(t, fakeServer(t, certificate, "28000"), "sslmode", "verify-full")
	return withParameter(t, opts, "sslrootcert", path)
}
