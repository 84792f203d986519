-- +goose Up

-- When the store last tested whether it can write. It tells how old a backup is.
CREATE TABLE probe (
    probed_at INTEGER NOT NULL
) STRICT;
INSERT INTO probe VALUES (0);
