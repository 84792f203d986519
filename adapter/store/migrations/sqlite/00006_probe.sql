-- +goose Up

-- When the store last wrote something to see whether that works. A backup says by it how
-- old it is.
CREATE TABLE probe (
    probed_at INTEGER NOT NULL
) STRICT;
INSERT INTO probe VALUES (0);
