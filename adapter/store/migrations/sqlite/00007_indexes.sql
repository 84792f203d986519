-- +goose Up

-- Settled events by outcome and by run. They are tables, because SQLite makes an index of a large
-- table in one step, and blocks all writes meanwhile. Triggers maintain them, also for a program
-- that does not know them. Most events are delivered, and those are in the table by run only.
CREATE TABLE deliveries_by_outcome (
    of_outcome INTEGER NOT NULL,
    of_id      INTEGER NOT NULL,
    PRIMARY KEY (of_outcome, of_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE deliveries_by_run (
    of_run     INTEGER NOT NULL,
    of_outcome INTEGER NOT NULL,
    of_id      INTEGER NOT NULL,
    PRIMARY KEY (of_run, of_outcome, of_id)
) STRICT, WITHOUT ROWID;

-- Some of the deliveries up to this id are not in the two tables yet. The row is deleted when all
-- are.
CREATE TABLE unindexed_deliveries (
    up_to_id INTEGER NOT NULL
) STRICT;
INSERT INTO unindexed_deliveries SELECT id FROM deliveries ORDER BY id DESC LIMIT 1;

-- The highest number of deliveries since the table of messageIds was last packed, and the hash up
-- to which it is packed while packing runs.
CREATE TABLE packed_messages (
    deliveries INTEGER NOT NULL,
    after_hash INTEGER
) STRICT;
INSERT INTO packed_messages VALUES (0, NULL);

-- +goose StatementBegin
CREATE TRIGGER deliveries_outcome_added AFTER INSERT ON deliveries WHEN new.outcome <> 1
BEGIN
    INSERT INTO deliveries_by_outcome VALUES (new.outcome, new.id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER deliveries_run_added AFTER INSERT ON deliveries WHEN new.run IS NOT NULL
BEGIN
    INSERT INTO deliveries_by_run VALUES (new.run, new.outcome, new.id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER deliveries_outcome_removed AFTER DELETE ON deliveries WHEN old.outcome <> 1
BEGIN
    DELETE FROM deliveries_by_outcome WHERE of_outcome = old.outcome AND of_id = old.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER deliveries_run_removed AFTER DELETE ON deliveries WHEN old.run IS NOT NULL
BEGIN
    DELETE FROM deliveries_by_run WHERE of_run = old.run AND of_outcome = old.outcome AND of_id = old.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER deliveries_changed AFTER UPDATE OF outcome, run ON deliveries
BEGIN
    DELETE FROM deliveries_by_outcome WHERE of_outcome = old.outcome AND of_id = old.id;
    DELETE FROM deliveries_by_run WHERE of_run = old.run AND of_outcome = old.outcome AND of_id = old.id;
    INSERT INTO deliveries_by_outcome SELECT new.outcome, new.id WHERE new.outcome <> 1;
    INSERT INTO deliveries_by_run SELECT new.run, new.outcome, new.id WHERE new.run IS NOT NULL;
END;
-- +goose StatementEnd
