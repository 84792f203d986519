-- +goose Up

-- In the events before this id, body_hash is a hash of the body to send. From this id on it is
-- the identity of the envelope. A store that never had such events has no row. The row is deleted
-- when the ledger has forgotten them.
CREATE TABLE former_identities (
    before_id INTEGER NOT NULL
) STRICT;
INSERT INTO former_identities SELECT next_id FROM counter WHERE next_id > 1;

-- Segment's names of events, which many rows share. Null if there is none, if the row is older
-- than these names, or if there were too many names.
CREATE TABLE event_names (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
ALTER TABLE queue ADD COLUMN event INTEGER;
ALTER TABLE deliveries ADD COLUMN event INTEGER;

-- The rejected deliveries that replays brought, by the SHA-256 of connection, tenant
-- and payload, and how often replays brought each of them again.
CREATE TABLE rejected (
    digest   BLOB    PRIMARY KEY,
    delivery INTEGER NOT NULL,
    repeats  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX rejected_delivery ON rejected (delivery);

-- The rejected deliveries that a run brought again.
CREATE TABLE run_rejected (
    run      INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    PRIMARY KEY (run, delivery)
) STRICT, WITHOUT ROWID;
