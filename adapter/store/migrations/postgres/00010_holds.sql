-- +goose Up

-- An open transaction must not hold up running programs: the migration fails, and the next start
-- tries it again.
SET LOCAL lock_timeout = '10s';

-- For the upsert of a user: how often it was tried since it was accepted or redriven, or -1 once a
-- newer upsert supersedes it. Null for other events, for those that wait for an import job, and
-- for those of an earlier version, until they are put back.
ALTER TABLE queue ADD COLUMN holds integer;
