-- +goose Up

-- An open transaction must not hold up running programs: the migration fails, and the next start
-- tries it again. A program that accepts events uses the sequence before the queue.
SET LOCAL lock_timeout = '10s';

-- An event that is accepted after another has the larger id, on any connection of any replica. With
-- a cache, each connection had ids of its own.
ALTER SEQUENCE delivery_ids CACHE 1;

-- For the upsert of a user: how often it was tried since it was accepted or redriven, or -1 once a
-- newer upsert supersedes it. Null for other events, for those that wait for an import job, and
-- for those of an earlier version, until they are put back.
ALTER TABLE queue ADD COLUMN holds integer;

-- The upserts of a user, by a hash of the userId: an index cannot hold every userId. The index has
-- no rows yet.
CREATE INDEX queue_upserts ON queue (hashtextextended(user_id, 0)) WHERE holds IS NOT NULL;

-- The call to SaaSquatch that decided the last attempt: 1 track, 2 upsert, 3 logUserEvents,
-- 4 upsertUsers. Null if there was none, or if an earlier version made it.
ALTER TABLE queue ADD COLUMN call smallint;

-- One index for the look-ups by messageId and for the events that meet here, instead of two: every
-- event writes both at a random place. Events without a hash are not equal to each other. An
-- earlier program finds what it needs by the new index as well.
CREATE UNIQUE INDEX queue_same ON queue (message_key, tenant, body_hash) WHERE message_key IS NOT NULL;
DROP INDEX queue_event;
DROP INDEX IF EXISTS queue_message;
ALTER INDEX queue_same RENAME TO queue_event;
