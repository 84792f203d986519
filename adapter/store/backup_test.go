package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// emptyFile makes a private file for a copy.
func emptyFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func backUp(t testing.TB, opts store.Options) string {
	t.Helper()
	to := emptyFile(t)
	if _, err := store.Backup(context.Background(), store.BackupOptions{Path: opts.Path, To: to}); err != nil {
		t.Fatal(err)
	}
	return to
}

// messagesOf returns the messageIds in a store, sorted.
func messagesOf(t *testing.T, s *store.Store) []string {
	t.Helper()
	found, err := s.Find(context.Background(), adapter.Filter{}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, d := range found {
		ids = append(ids, d.MessageID)
	}
	slices.Sort(ids)
	return ids
}

// TestBackupBesideServer copies a database into which events go all the time. The copy is
// one private file, and holds every event that was accepted before it.
func TestBackupBesideServer(t *testing.T) {
	opts := sqliteOptions(t)
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	accept(t, q, arrivals(0, 3000)...)
	record(t, q, lease(t, q, 500), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})

	ctx, stop := context.WithCancel(context.Background())
	var sender sync.WaitGroup
	sender.Go(func() {
		for n := 3000; ctx.Err() == nil; n++ {
			if err := q.Accept(context.Background(), arrivals(n, 1)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	to := emptyFile(t)
	var last, total int64
	progress := func(d, n int64) {
		if d < last && n == total {
			t.Errorf("progress went from %d to %d", last, d)
		}
		last, total = d, n
	}
	done, err := store.Backup(context.Background(), store.BackupOptions{Path: opts.Path, To: to, Progress: progress})
	stop()
	sender.Wait()
	if err != nil || done.Pending < 2500 || done.Settled != 500 || last != total {
		t.Fatalf("got %+v, %v; progress %d of %d", done, err, last, total)
	}
	names, err := filepath.Glob(to + "*")
	if info, statErr := os.Stat(to); err != nil || len(names) != 1 || statErr != nil ||
		info.Mode().Perm() != 0o600 || info.Size() != done.Bytes {
		t.Errorf("files %v, %v; %v", names, err, info)
	}
	copied := open(t, store.Options{Path: to})
	balanced(t, copied)
	if ids := messagesOf(t, copied); int64(len(ids)) != done.Pending+done.Settled {
		t.Errorf("%d events, and it says %+v", len(ids), done)
	}
}

// TestBackupFails leaves nothing beside the file.
func TestBackupFails(t *testing.T) {
	opts := sqliteOptions(t)
	s := open(t, opts)
	accept(t, connection(t, s, "default", "tenant"), arrivals(0, 3000)...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	faults := map[string]struct {
		opts store.BackupOptions
		ctx  context.Context
		want error
		text string
	}{
		"interrupted": {
			store.BackupOptions{Path: opts.Path, Progress: func(int64, int64) { cancel() }}, ctx, context.Canceled, "",
		},
		"no database": {store.BackupOptions{Path: opts.Path + "x"}, context.Background(), os.ErrNotExist, ""},
		"unbalanced":  {store.BackupOptions{Path: opts.Path}, context.Background(), nil, "there are 3000 rows"},
	}
	for _, name := range []string{"interrupted", "no database", "unbalanced"} {
		f := faults[name]
		if name == "unbalanced" {
			if err := s.Close(); err != nil { // which may be writing
				t.Fatal(err)
			}
			execute(t, raw(t, opts), `UPDATE totals SET events = 1 WHERE outcome = 6`)
		}
		f.opts.To = emptyFile(t)
		_, err := store.Backup(f.ctx, f.opts)
		if err == nil || f.want != nil && !errors.Is(err, f.want) || !strings.Contains(err.Error(), f.text) {
			t.Errorf("%s: got %v", name, err)
		}
		if left, err := filepath.Glob(f.opts.To + "-*"); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

// TestBackupOfEarlierVersion copies a database before an upgrade.
func TestBackupOfEarlierVersion(t *testing.T) {
	opts := sqliteOptions(t)
	s := open(t, opts)
	accept(t, connection(t, s, "default", "tenant"), event("message-1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, opts)
	dropLookUps(t, db)
	for _, statement := range []string{
		`DROP TABLE schema_additions`, `DROP TABLE probe`, `DROP TABLE dead_letters`,
		`DROP TABLE uncounted_dead_letters`,
		`ALTER TABLE queue DROP COLUMN holds`, `ALTER TABLE queue DROP COLUMN call`,
		`ALTER TABLE deliveries DROP COLUMN call`, `ALTER TABLE attempts DROP COLUMN call`,
		`ALTER TABLE queue DROP COLUMN checksum`,
		`ALTER TABLE payloads DROP COLUMN checksum`, `DELETE FROM schema_version WHERE version_id > 4`,
	} {
		execute(t, db, statement)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	copied := open(t, store.Options{Path: backUp(t, opts)})
	if got := fmt.Sprint(messagesOf(t, copied)); got != "[message-1]" {
		t.Errorf("got %s", got)
	}
}
