-- +goose Up

-- In the events before this id, body_hash is a hash of the body to send. From this id on it is
-- the identity of the envelope. A store that never had such events has no row. The row is deleted
-- when the ledger has forgotten them.
CREATE TABLE former_identities (
    before_id bigint NOT NULL
);
INSERT INTO former_identities SELECT last_value + 1 FROM delivery_ids WHERE is_called;

-- Segment's names of events, which many rows share. Null if there is none, if the row is older
-- than these names, or if there were too many names.
CREATE TABLE event_names (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text    NOT NULL UNIQUE
);
ALTER TABLE queue ADD COLUMN event integer;
ALTER TABLE deliveries ADD COLUMN event integer;

-- The rejected deliveries that replays brought, by the SHA-256 of connection, tenant
-- and payload, and how often replays brought each of them again.
CREATE TABLE rejected (
    digest   bytea  PRIMARY KEY,
    delivery bigint NOT NULL,
    repeats  bigint NOT NULL
);
CREATE UNIQUE INDEX rejected_delivery ON rejected (delivery);

-- The rejected deliveries that a run brought again.
CREATE TABLE run_rejected (
    run      bigint NOT NULL,
    delivery bigint NOT NULL,
    PRIMARY KEY (run, delivery)
);
