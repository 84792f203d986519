-- +goose Up

-- Replays of Segment archives. Spec and progress are the replay's own JSON.
CREATE TABLE runs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection bigint NOT NULL,
    tenant     bigint NOT NULL,
    owner      bigint NOT NULL, -- the process that works on it
    spec       text    NOT NULL,
    progress   text,
    started_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    ended_at   bigint
);

-- The progress of reading the objects of a run's archive.
CREATE TABLE run_objects (
    run     bigint NOT NULL,
    object  text    NOT NULL,
    version text    NOT NULL,
    lines   bigint NOT NULL,
    done    bigint NOT NULL,
    fault   text,
    PRIMARY KEY (run, object)
);

-- The outcomes of the events of a run.
CREATE TABLE run_outcomes (
    run     bigint NOT NULL,
    shard   bigint NOT NULL,
    outcome bigint NOT NULL,
    reason  text    NOT NULL,
    events  bigint NOT NULL,
    PRIMARY KEY (run, shard, outcome, reason)
);

-- Import jobs of a run: each has the held events from first_id to last_id, one a line.
CREATE TABLE run_jobs (
    run        bigint NOT NULL,
    number     bigint NOT NULL,
    first_id   bigint NOT NULL,
    last_id    bigint NOT NULL,
    state      text    NOT NULL, -- the replay's own JSON
    PRIMARY KEY (run, number)
);

-- Null for events of live traffic. A held event has the run as its lease as well.
ALTER TABLE queue ADD COLUMN run bigint;
ALTER TABLE deliveries ADD COLUMN run bigint;
CREATE INDEX queue_run ON queue (run, due_at, id) WHERE run IS NOT NULL;
CREATE INDEX deliveries_run_refused ON deliveries (run, id) WHERE run IS NOT NULL AND outcome IN (4, 5);
