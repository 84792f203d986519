-- +goose Up

-- For the upsert of a user: how often it was tried since it was accepted or redriven, or -1 once a
-- newer upsert supersedes it. Null for other events, for those that wait for an import job, and
-- for those of an earlier version, until they are put back.
ALTER TABLE queue ADD COLUMN holds INTEGER;
CREATE INDEX queue_upserts ON queue (connection, tenant, user_id, account_id, id, holds) WHERE holds IS NOT NULL;

-- The call to SaaSquatch that decided the last attempt: 1 track, 2 upsert, 3 logUserEvents,
-- 4 upsertUsers. Null if there was none, or if an earlier version made it.
ALTER TABLE queue ADD COLUMN call INTEGER;
ALTER TABLE deliveries ADD COLUMN call INTEGER;
ALTER TABLE attempts ADD COLUMN call INTEGER;
