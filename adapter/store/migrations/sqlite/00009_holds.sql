-- +goose Up

-- For the upsert of a user: how often it was tried since it was accepted or redriven, or -1 once a
-- newer upsert supersedes it. Null for other events, for those that wait for an import job, and
-- for those of an earlier version, until they are put back.
ALTER TABLE queue ADD COLUMN holds INTEGER;
CREATE INDEX queue_upserts ON queue (connection, tenant, user_id, account_id, id, holds) WHERE holds IS NOT NULL;
