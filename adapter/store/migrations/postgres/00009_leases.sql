-- +goose Up

-- An open transaction must not hold up running programs: the migration fails, and the next start
-- tries it again.
SET LOCAL lock_timeout = '10s';
-- The strongest lock comes first. Upgrading a weaker one would deadlock with a program that has
-- read the queue and is about to write to it.
LOCK TABLE queue IN ACCESS EXCLUSIVE MODE;

-- Events that a process has leased, until a time on the database's clock. A row of this table is
-- narrow and has one index. So a lease and a mark write neither the payload nor an index of the
-- queue.
CREATE TABLE leases (
    id         bigint PRIMARY KEY,
    token      bigint NOT NULL,
    until      bigint NOT NULL, -- 0 if the event was given back
    sending_at bigint -- an attempt has begun, and its end is not recorded
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- Version 6 of the schema keeps the lease of an event in the queue. A program that knows no later
-- version skips events that are leased in the table above. When such a lease is over, the program
-- takes over its mark. The newer program clears the lease in the queue when it is over, before it
-- leases the event. So an event has one lease.
-- +goose StatementBegin
CREATE FUNCTION heed_leases() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    known leases;
BEGIN
    SELECT * INTO known FROM leases WHERE id = OLD.id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NEW;
    END IF;
    IF known.until > extract(epoch FROM clock_timestamp()) * 1000 THEN
        RETURN NULL;
    END IF;
    DELETE FROM leases WHERE id = OLD.id;
    IF NEW.lease IS NOT NULL THEN
        NEW.sending_at := coalesce(NEW.sending_at, known.sending_at);
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER heed_leases BEFORE UPDATE OF lease ON queue FOR EACH ROW WHEN (OLD.lease IS NULL) EXECUTE FUNCTION heed_leases();

-- With id as a plain column, statistics of an empty queue made PostgreSQL use this index to look
-- up events by id, and read all of it.
CREATE INDEX queue_due ON queue (connection, tenant, due_at, (id + 0));
DROP INDEX queue_tenant_due;
ALTER INDEX queue_due RENAME TO queue_tenant_due;
