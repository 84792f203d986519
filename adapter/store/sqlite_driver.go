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

// rowStatements are statements that differ only in the number of their rows, in descending order.
type rowStatements struct {
	columns int
	sizes   []int
	bySize  []driverStatement
}

// prepareRows prepares a statement for each size. Text returns the statement for a number of rows.
func prepareRows(
	ctx context.Context, conn *sql.Conn, columns int, sizes []int, text func(rows int) string,
) (rowStatements, error) {
	s := rowStatements{columns: columns, sizes: sizes}
	for _, size := range sizes {
		prepared, err := prepareForDriver(ctx, conn, text(size))
		if err != nil {
			return s, errors.Join(err, s.close())
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

// exec executes statements for all rows of values, and returns the number of rows that they changed.
func (s *rowStatements) exec(values []driver.NamedValue) (changed int64, err error) {
	for i, size := range s.sizes {
		for n := size * s.columns; len(values) >= n; values = values[n:] {
			number(values[:n])
			result, err := s.bySize[i].ExecContext(context.Background(), values[:n])
			more, err := affectedRows(result, err)
			if err != nil {
				return changed, err
			}
			changed += more
		}
	}
	return changed, nil
}

// query calls fn with each row that the statements return, in the order of the sizes. The values are valid after fn.
func (s *rowStatements) query(values []driver.NamedValue, row []driver.Value, fn func()) error {
	for i, size := range s.sizes {
		for n := size * s.columns; len(values) >= n; values = values[n:] {
			number(values[:n])
			rows, err := s.bySize[i].QueryContext(context.Background(), values[:n])
			if err != nil {
				return err
			}
			for err = rows.Next(row); err == nil; err = rows.Next(row) {
				fn()
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if err = errors.Join(err, rows.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// number numbers the arguments of a statement.
func number(values []driver.NamedValue) {
	for i := range values {
		values[i].Ordinal = i + 1
	}
}

// appendValues appends arguments of a statement.
func appendValues(to []driver.NamedValue, values ...driver.Value) []driver.NamedValue {
	for _, value := range values {
		to = append(to, driver.NamedValue{Value: value})
	}
	return to
}
