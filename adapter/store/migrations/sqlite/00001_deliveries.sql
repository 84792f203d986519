-- +goose Up

-- Names of connections and tenants, to which every row refers.
CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Ids are never used again. Up to indexed_id their messageIds are in messages.
CREATE TABLE counter (
    next_id    INTEGER NOT NULL,
    indexed_id INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 0);

-- Deliveries by the hash of their messageId.
CREATE TABLE messages (
    hash     INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    PRIMARY KEY (hash, delivery)
) STRICT, WITHOUT ROWID;

-- Pending events. Times are in milliseconds since 1970.
CREATE TABLE queue (
    id               INTEGER PRIMARY KEY,
    connection       INTEGER NOT NULL,
    tenant           INTEGER NOT NULL,
    due_at           INTEGER NOT NULL,
    body_hash        INTEGER, -- 0 if the messageId is a valid key, null if the event makes no duplicates
    message_id       TEXT    NOT NULL,
    user_id          TEXT    NOT NULL,
    account_id       TEXT, -- null if it is the user_id
    event_key        TEXT    NOT NULL,
    received_at      INTEGER NOT NULL,
    attempts         INTEGER NOT NULL DEFAULT 0,
    failed           INTEGER NOT NULL DEFAULT 0, -- of the attempts, since it was accepted or redriven
    redriven         INTEGER NOT NULL DEFAULT 0,
    first_attempt_at INTEGER,
    last_attempt_at  INTEGER,
    ambiguous_at     INTEGER,
    sending_at       INTEGER,
    lease            INTEGER, -- of a process among several
    status           INTEGER,
    reason           TEXT,
    detail           TEXT,
    payload          BLOB    NOT NULL
) STRICT;
CREATE INDEX queue_due ON queue (connection, due_at);

-- Settled events. The offsets count milliseconds from received_at.
CREATE TABLE deliveries (
    id               INTEGER PRIMARY KEY,
    connection       INTEGER NOT NULL,
    tenant           INTEGER NOT NULL,
    outcome          INTEGER NOT NULL,
    body_hash        INTEGER,
    message_id       TEXT    NOT NULL,
    user_hash        INTEGER,
    user_id          TEXT    NOT NULL,
    account_id       TEXT,
    event_key        TEXT    NOT NULL,
    received_at      INTEGER NOT NULL,
    first_attempt_ms INTEGER,
    last_attempt_ms  INTEGER,
    settled_ms       INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    status           INTEGER,
    ambiguous        INTEGER NOT NULL,
    reason           TEXT,
    detail           TEXT
) STRICT;
CREATE INDEX deliveries_user ON deliveries (user_hash) WHERE user_hash IS NOT NULL;
-- Rejected and dead deliveries: few, and often searched.
CREATE INDEX deliveries_refused ON deliveries (id) WHERE outcome IN (4, 5);

-- Payloads of settled events. Each is kept until a time, or as long as the event.
CREATE TABLE payloads (
    delivery   INTEGER PRIMARY KEY,
    keep_until INTEGER,
    payload    BLOB NOT NULL
) STRICT;
CREATE INDEX payloads_keep_until ON payloads (keep_until) WHERE keep_until IS NOT NULL;

-- Attempts that did not deliver.
CREATE TABLE attempts (
    delivery    INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    began_at    INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status      INTEGER,
    reason      TEXT NOT NULL,
    detail      TEXT,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- Running totals by outcome; outcome 0 counts the accepted events.
CREATE TABLE totals (
    connection INTEGER NOT NULL,
    shard      INTEGER NOT NULL,
    outcome    INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    removed    INTEGER NOT NULL,
    bytes      INTEGER NOT NULL, -- of payloads, pending only
    PRIMARY KEY (connection, shard, outcome)
) STRICT, WITHOUT ROWID;
