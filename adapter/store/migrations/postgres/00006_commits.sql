-- +goose Up

-- The last transaction of each writer. When a connection is lost during a COMMIT, the
-- token says whether the transaction was committed.
CREATE TABLE commits (
    writer     bigint PRIMARY KEY,
    token      bigint NOT NULL,
    written_at timestamptz NOT NULL
);
