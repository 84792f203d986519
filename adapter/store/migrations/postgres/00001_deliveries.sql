-- +goose Up

-- Names of connections and tenants, to which every row refers.
CREATE TABLE names (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text   NOT NULL UNIQUE
);

CREATE SEQUENCE delivery_ids CACHE 100;

-- Pending events. Times are in milliseconds since 1970.
CREATE TABLE queue (
    id               bigint   PRIMARY KEY,
    connection       bigint   NOT NULL,
    tenant           bigint   NOT NULL,
    due_at           bigint   NOT NULL,
    body_hash        bigint, -- 0 if the messageId is a valid key, null if the event makes no duplicates
    message_id       text     NOT NULL,
    message_key      uuid     GENERATED ALWAYS AS (CASE WHEN message_id = '' THEN NULL ELSE md5(message_id)::uuid END) STORED,
    user_id          text     NOT NULL,
    account_id       text, -- null if it is the user_id
    event_key        text     NOT NULL,
    received_at      bigint   NOT NULL,
    attempts         bigint   NOT NULL DEFAULT 0,
    failed           bigint   NOT NULL DEFAULT 0, -- of the attempts, since it was accepted or redriven
    redriven         smallint NOT NULL DEFAULT 0,
    first_attempt_at bigint,
    last_attempt_at  bigint,
    ambiguous_at     bigint,
    sending_at       bigint,
    lease            bigint, -- of a process among several; it ends at due_at
    status           bigint,
    reason           text,
    detail           text,
    payload          bytea    NOT NULL
) WITH (fillfactor = 70, toast_tuple_target = 256, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
-- Every lease writes the row anew, but not a payload that stands elsewhere.
ALTER TABLE queue ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX queue_due ON queue (connection, due_at, id);
-- Two processes that accept the same event at once meet here.
CREATE UNIQUE INDEX queue_event ON queue (tenant, message_key, body_hash) WHERE message_key IS NOT NULL AND body_hash IS NOT NULL;
CREATE INDEX queue_message ON queue (message_key) WHERE message_key IS NOT NULL;

-- Settled events. The offsets count milliseconds from received_at.
CREATE TABLE deliveries (
    id               bigint   PRIMARY KEY,
    connection       bigint   NOT NULL,
    tenant           bigint   NOT NULL,
    outcome          smallint NOT NULL,
    body_hash        bigint,
    message_id       text     NOT NULL,
    message_key      uuid     GENERATED ALWAYS AS (CASE WHEN message_id = '' THEN NULL ELSE md5(message_id)::uuid END) STORED,
    user_hash        bigint,
    user_id          text     NOT NULL,
    account_id       text,
    event_key        text     NOT NULL,
    received_at      bigint   NOT NULL,
    first_attempt_ms bigint,
    last_attempt_ms  bigint,
    settled_ms       bigint   NOT NULL,
    attempts         bigint   NOT NULL,
    status           bigint,
    ambiguous        smallint NOT NULL,
    reason           text,
    detail           text
);
CREATE INDEX deliveries_message ON deliveries (message_key) WHERE message_key IS NOT NULL;
CREATE INDEX deliveries_user ON deliveries (user_hash) WHERE user_hash IS NOT NULL;
-- Rejected and dead deliveries: few, and often searched.
CREATE INDEX deliveries_refused ON deliveries (id) WHERE outcome IN (4, 5);

-- Payloads of settled events. Each is kept until a time, or as long as the event.
CREATE TABLE payloads (
    delivery   bigint PRIMARY KEY,
    keep_until bigint,
    payload    bytea  NOT NULL
);
CREATE INDEX payloads_keep_until ON payloads (keep_until) WHERE keep_until IS NOT NULL;

-- Attempts that did not deliver.
CREATE TABLE attempts (
    delivery    bigint NOT NULL,
    number      bigint NOT NULL,
    began_at    bigint NOT NULL,
    duration_ms bigint NOT NULL,
    status      bigint,
    reason      text   NOT NULL,
    detail      text,
    PRIMARY KEY (delivery, number)
);

-- Running totals by outcome; outcome 0 counts the accepted events. Each
-- transaction adds to a shard, so that they seldom wait for each other.
CREATE TABLE totals (
    connection bigint   NOT NULL,
    shard      bigint   NOT NULL,
    outcome    smallint NOT NULL,
    events     bigint   NOT NULL,
    removed    bigint   NOT NULL,
    bytes      bigint   NOT NULL, -- of payloads, pending only
    PRIMARY KEY (connection, shard, outcome)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Something to write, to see whether that works.
CREATE TABLE probe (
    probed_at timestamptz NOT NULL
);
INSERT INTO probe VALUES (now());
