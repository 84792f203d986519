-- +goose Up

-- A transaction of its own: one that locked several tables could wait for a running program, which
-- locks them in another order.
SET LOCAL lock_timeout = '10s';

-- The call to SaaSquatch that decided the attempt; see queue.call.
ALTER TABLE deliveries ADD COLUMN call smallint;
