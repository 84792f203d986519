package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// The statements for many events go to SQLite's driver without database/sql, which would convert each of their
// hundreds of arguments, and copy each payload once more. They belong to connections that the engine has to itself for
// as long as they are open, and database/sql does nothing with such a connection on its own. One goroutine at a time
// uses a connection: the one that has the writer, or the one that looks for due events.

// driverStatement is a prepared statement of the driver.
type driverStatement interface {
	driver.StmtExecContext
	driver.StmtQueryContext
	Close() error
}

// prepareForDriver prepares a statement on the connection.
func prepareForDriver(ctx context.Context, conn *sql.Conn, text string) (prepared driverStatement, err error) {
	err = conn.Raw(func(conn any) error {
		statement, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		var ok bool
		if prepared, ok = statement.(driverStatement); !ok {
			return errors.Join(errors.New("the driver's statements take no context"), statement.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", text, err)
	}
	return prepared, nil
}

// rowStatements are statements that differ only in the number of their rows, in descending order. Each row has columns
// arguments. Without columns there is one statement without arguments.
type rowStatements struct {
	columns int
	sizes   []int
	bySize  []driverStatement
	values  []driver.Value // of a row of the result
}

// oneRow is the only size of a statement for one event, or for none.
var oneRow = []int{1}

// prepareRows prepares a statement for each size. Text returns the statement for a number of rows. Results is the
// number of columns of the result.
func prepareRows(
	ctx context.Context, conn *sql.Conn, columns, results int, sizes []int, text func(rows int) string,
) (rowStatements, error) {
	s := rowStatements{columns: columns, sizes: sizes, values: make([]driver.Value, results)}
	for _, size := range sizes {
		prepared, err := prepareForDriver(ctx, conn, text(size))
		if err != nil {
			return s, err
		}
		s.bySize = append(s.bySize, prepared)
	}
	return s, nil
}

func (s *rowStatements) close() error {
	var errs []error
	for _, statement := range s.bySize {
		errs = append(errs, statement.Close())
	}
	return errors.Join(errs...)
}

// exec executes statements for all rows of arguments, and returns the number of rows that they changed.
func (s *rowStatements) exec(args []driver.NamedValue) (changed int64, err error) {
	err = s.each(args, func(statement driverStatement, part []driver.NamedValue) error {
		result, err := statement.ExecContext(context.Background(), part)
		more, err := affectedRows(result, err)
		changed += more
		return err
	})
	return changed, err
}

// query calls fn with each row that the statements return. The slice, but not its values, changes after fn. It ends at
// the first error of fn, and returns that error unless it is errEnough.
func (s *rowStatements) query(args []driver.NamedValue, fn func(row []driver.Value) error) error {
	err := s.each(args, func(statement driverStatement, part []driver.NamedValue) error {
		rows, err := statement.QueryContext(context.Background(), part)
		if err != nil {
			return err
		}
		for err == nil {
			if err = rows.Next(s.values); err == nil {
				err = fn(s.values)
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if closing := rows.Close(); closing != nil {
			return errors.Join(err, closing)
		}
		return err
	})
	if err == errEnough {
		return nil
	}
	return err
}

// each calls fn with the largest statements that the rows fill.
func (s *rowStatements) each(
	args []driver.NamedValue, fn func(statement driverStatement, part []driver.NamedValue) error,
) error {
	if s.columns == 0 {
		return fn(s.bySize[0], nil)
	}
	for i, size := range s.sizes {
		for n := size * s.columns; len(args) >= n; args = args[n:] {
			for j := range args[:n] {
				args[j].Ordinal = j + 1
			}
			if err := fn(s.bySize[i], args[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendValues appends arguments of a statement.
func appendValues(to []driver.NamedValue, values ...driver.Value) []driver.NamedValue {
	for _, value := range values {
		to = append(to, driver.NamedValue{Value: value})
	}
	return to
}
