-- +goose Up

-- CRC-32C of the payload and the id. Null where an earlier version stored the event.
ALTER TABLE queue ADD COLUMN checksum INTEGER;
ALTER TABLE payloads ADD COLUMN checksum INTEGER;

-- The kept payloads of rejected and dead deliveries, by age. Their sizes are in the
-- totals of the outcome.
CREATE TABLE dead_letters (
    outcome    INTEGER NOT NULL,
    delivery   INTEGER NOT NULL,
    connection INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    PRIMARY KEY (outcome, delivery)
) STRICT, WITHOUT ROWID;

-- Dead letters of an earlier version after this id are not in the table yet. The row is deleted
-- when all are.
CREATE TABLE uncounted_dead_letters (
    after_id INTEGER NOT NULL
) STRICT;
INSERT INTO uncounted_dead_letters SELECT 0 WHERE EXISTS (SELECT 1 FROM deliveries WHERE outcome IN (4, 5));
