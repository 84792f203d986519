package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"segment-saasquatch/adapter"
)

// names maps the names of connections and tenants to their numbers and back.
type names struct {
	engine engine

	mu   sync.Mutex
	ids  map[string]int64
	text map[int64]string
}

func loadNames(ctx context.Context, e engine) (*names, error) {
	n := &names{engine: e, ids: make(map[string]int64), text: make(map[int64]string)}
	return n, n.load(ctx)
}

func (n *names) load(ctx context.Context) error {
	err := n.engine.read(ctx, shortRead, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id, name FROM names`)
		n.mu.Lock()
		defer n.mu.Unlock()
		var id int64
		var name string
		return eachRow(rows, err, func() { n.ids[name], n.text[id] = id, name }, &id, &name)
	})
	return wrap("read the names", err)
}

// id returns the number of a name. It adds a name that is new.
func (n *names) id(ctx context.Context, name string) (int64, error) {
	if id, ok := n.find(name); ok {
		return id, nil
	}
	err := n.engine.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO names (name) VALUES ($1) ON CONFLICT (name) DO NOTHING`, name)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := n.load(ctx); err != nil {
		return 0, err
	}
	id, _ := n.find(name)
	return id, nil
}

func (n *names) find(name string) (id int64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, ok = n.ids[name]
	return id, ok
}

// ofTenant returns the numbers of the tenants with this name, or this alias.
func (n *names) ofTenant(tenant string) (ids []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, id := range n.ids {
		if name == tenant || adapter.TenantAlias(name) == tenant {
			ids = append(ids, id)
		}
	}
	return ids
}

// errUnknownName means that another process may have added the name.
var errUnknownName = errors.New("the store has no such name")

// name returns the name with the number, or errUnknownName; see resolve.
func (n *names) name(id int64) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := n.text[id]; ok {
		return name, nil
	}
	return "", fmt.Errorf("name %d: %w", id, errUnknownName)
}

// both returns the names of a connection and of a tenant; see name.
func (n *names) both(connection, tenant int64) (connectionName, tenantName string, err error) {
	if connectionName, err = n.name(connection); err == nil {
		tenantName, err = n.name(tenant)
	}
	return connectionName, tenantName, err
}

// resolve runs fn, which may ask for names, and runs it again if fn met a name that another process has added. It
// reads the names only after fn has ended: a transaction of fn that waited for a second connection could wait for
// ever.
func (n *names) resolve(ctx context.Context, fn func() error) error {
	err := fn()
	if !errors.Is(err, errUnknownName) {
		return err
	}
	if err := n.load(ctx); err != nil {
		return err
	}
	return fn()
}
