package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ForeignFileError means that a file is not a database of this program.
type ForeignFileError struct{ Path, Problem string }

func (e *ForeignFileError) Error() string {
	return fmt.Sprintf("%s %s: name a copy that `store backup` or sqlite3's .backup has made", e.Path, e.Problem)
}

// DamagedFileError means that a copy of a database is damaged.
type DamagedFileError struct {
	Path string
	// Faults describe the damage.
	Faults []string
}

func (e *DamagedFileError) Error() string {
	return fmt.Sprintf("%s is damaged: %s: use an older copy", e.Path, strings.Join(e.Faults, "; "))
}

// databaseMagic is the begin of an SQLite file.
const databaseMagic = "SQLite format 3\x00"

// checkFormat returns a *ForeignFileError if the file is not an SQLite file, and a *DamagedFileError if its end is
// missing. Log is set if there is a write-ahead log, which may hold the missing part.
func checkFormat(path string, file io.ReaderAt, size int64, log bool) error {
	head := make([]byte, len(databaseMagic))
	n, err := file.ReadAt(head, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("read the backup: %w", err)
	case n == 0:
		return &ForeignFileError{Path: path, Problem: "is empty"}
	case string(head[:n]) != databaseMagic[:n]:
		return &ForeignFileError{Path: path, Problem: "is no SQLite database, or is compressed"}
	case size%pageSize != 0 && !log:
		return &DamagedFileError{Path: path, Faults: []string{"it ends within a page"}}
	}
	return nil
}

// fileSource returns the data source of a file, without settings.
func fileSource(path string) string {
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	return source.String()
}

// openFile opens a database file that no store has open, with one connection.
func openFile(path, settings string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(fileSource(path) + "?mode=rw&_pragma=busy_timeout(10000)" + settings)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// storeTables are tables that stores of all versions have.
var storeTables = []string{"schema_version", "names", "counter", "messages", "queue", "deliveries", "payloads",
	"totals"}

// examining returns an error of examining a database, a *DamagedFileError if the database is damaged.
func examining(name string, err error) error {
	if fault, ok := errors.AsType[*sqlite.Error](err); ok {
		switch fault.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return &DamagedFileError{Path: name, Faults: []string{fault.Error()}}
		}
	}
	return fmt.Errorf("examine %s: %w", name, err)
}

// checkPages checks a database for damage, and that it is a store of any version. Name is its name in errors.
func checkPages(ctx context.Context, db *sql.DB, name string) error {
	faults, err := queryTexts(ctx, db, `PRAGMA quick_check(5)`)
	if err != nil {
		return examining(name, err)
	}
	if len(faults) != 1 || faults[0] != "ok" {
		return &DamagedFileError{Path: name, Faults: faults}
	}
	tables, err := queryTexts(ctx, db, `SELECT name FROM sqlite_schema WHERE type = 'table'`)
	if err != nil {
		return examining(name, err)
	}
	for _, table := range storeTables {
		if !slices.Contains(tables, table) {
			problem := "is a database of another program, without the table " + table
			return &ForeignFileError{Path: name, Problem: problem}
		}
	}
	return nil
}

// checkBalance counts all rows of a store, and returns a *DamagedFileError if they disagree
// with the totals.
func checkBalance(ctx context.Context, db *sql.DB, name string) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return examining(name, err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	all, err := readTotals(ctx, tx)
	if err == nil {
		err = countRows(ctx, tx, all)
	}
	// Earlier versions had no sizes of dead letters.
	letters, tableErr := hasTable(ctx, tx, "dead_letters")
	if err = errors.Join(err, tableErr); err == nil && letters {
		err = measurePayloads(ctx, tx, all)
	}
	if err != nil {
		return examining(name, err)
	}
	var faults []string
	for id, b := range all {
		for _, fault := range b.verify("").Faults {
			faults = append(faults, fmt.Sprintf("connection %d: %s", id, fault))
		}
	}
	if len(faults) > 0 {
		return &DamagedFileError{Path: name, Faults: faults}
	}
	return nil
}

func hasTable(ctx context.Context, db querier, name string) (bool, error) {
	tables, err := queryTexts(ctx, db, `SELECT name FROM sqlite_schema WHERE type = 'table'`)
	return slices.Contains(tables, name), err
}

// queryTexts returns the only column of all rows.
func queryTexts(ctx context.Context, db querier, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	return column[string](rows, err)
}

// intoOneFile merges the log of a closed database into its file, and syncs the file.
func intoOneFile(ctx context.Context, path string) error {
	db, err := openFile(path, "")
	if err != nil {
		return err
	}
	_, err = queryTexts(ctx, db, `PRAGMA journal_mode(delete)`)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("bring the log into the database: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
