-- +goose Up

-- Replays of Segment archives. Spec and progress are the replay's own JSON.
CREATE TABLE runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    connection INTEGER NOT NULL,
    tenant     INTEGER NOT NULL,
    owner      INTEGER NOT NULL, -- the process that works on it
    spec       TEXT    NOT NULL,
    progress   TEXT,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;

-- The progress of reading the objects of a run's archive.
CREATE TABLE run_objects (
    run     INTEGER NOT NULL,
    object  TEXT    NOT NULL,
    version TEXT    NOT NULL,
    lines   INTEGER NOT NULL,
    done    INTEGER NOT NULL,
    fault   TEXT,
    PRIMARY KEY (run, object)
) STRICT, WITHOUT ROWID;

-- The outcomes of the events of a run.
CREATE TABLE run_outcomes (
    run     INTEGER NOT NULL,
    shard   INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    events  INTEGER NOT NULL,
    PRIMARY KEY (run, shard, outcome, reason)
) STRICT, WITHOUT ROWID;

-- Import jobs of a run: each has the held events from first_id to last_id, one a line.
CREATE TABLE run_jobs (
    run        INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    first_id   INTEGER NOT NULL,
    last_id    INTEGER NOT NULL,
    state      TEXT    NOT NULL, -- the replay's own JSON
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- Null for events of live traffic. A held event has the run as its lease as well.
ALTER TABLE queue ADD COLUMN run INTEGER;
ALTER TABLE deliveries ADD COLUMN run INTEGER;
CREATE INDEX queue_run ON queue (run, due_at) WHERE run IS NOT NULL;
CREATE INDEX deliveries_run_refused ON deliveries (run, id) WHERE run IS NOT NULL AND outcome IN (4, 5);
