package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"segment-saasquatch/adapter"
)

// conditions builds a WHERE clause.
type conditions struct {
	clauses []string
	args    []any
}

// add adds a condition; each ? in it stands for the next of args.
func (c *conditions) add(clause string, args ...any) {
	var b strings.Builder
	for _, part := range strings.SplitAfter(clause, "?") {
		if text, ok := strings.CutSuffix(part, "?"); ok {
			c.args = append(c.args, args[0])
			args = args[1:]
			part = text + "$" + strconv.Itoa(len(c.args))
		}
		b.WriteString(part)
	}
	c.clauses = append(c.clauses, b.String())
}

func (c *conditions) where() string {
	if len(c.clauses) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.clauses, " AND ")
}

// errNothing means that the filter matches nothing, whatever the tables have.
var errNothing = errors.New("the filter picks nothing")

// conditions turns a bounded filter into the conditions of a source.
func (s *Store) conditions(ctx context.Context, tx *sql.Tx, from *source, f *adapter.Filter) (*conditions, error) {
	c := &conditions{}
	c.clauses = append(c.clauses, from.keys...)
	if f.IDs != nil {
		if len(f.IDs) == 0 {
			return nil, errNothing
		}
		c.add("id IN " + numberList(f.IDs))
	}
	if f.Before > 0 {
		c.add(from.id+" < ?", f.Before)
	}
	if f.After > 0 {
		c.add(from.id+" > ?", f.After)
	}
	if f.Connection != "" {
		id, ok := s.names.find(f.Connection)
		if !ok {
			return nil, errNothing
		}
		c.add(from.unindexed+"connection = ?", id)
	}
	if f.Reason != "" {
		c.add(from.reason+" = ?", clean(string(f.Reason)))
	}
	if f.Run != 0 && !from.isLog {
		c.add(from.unindexed+"run = ?", f.Run)
	}
	if f.Tenant != "" {
		c.add("tenant IN " + numberList(s.names.ofTenant(f.Tenant)))
	}
	if f.Former {
		c.add(s.byTenant("1 = 0", "1 = 1", "1 = 1"))
	}
	if f.Event != "" {
		c.add("event = (SELECT id FROM event_names WHERE name = ?)", storedName(f.Event))
	}
	if f.EventKey != "" {
		c.add("event_key = ?", cut(f.EventKey))
	}
	if f.MessageID != "" {
		clause, args, err := s.engine.byMessage(ctx, tx, cut(f.MessageID))
		if err != nil {
			return nil, fmt.Errorf("look for the messageId: %w", err)
		}
		c.add(clause, args...)
	}
	if f.UserID != "" && from.isLog {
		c.add("user_hash = ? AND user_id = ?", userHash(f.UserID), cut(f.UserID))
	} else if f.UserID != "" {
		c.add("user_id = ?", clean(f.UserID))
	}
	if !f.Since.IsZero() {
		c.add("received_at >= ?", milliseconds(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("received_at < ?", milliseconds(f.Until))
	}
	return c, nil
}
