-- +goose Up

-- Settled events by outcome and by run. Most events are delivered, and those are by run only. If
-- there are events already, the program makes the indexes while it runs, so that its start need
-- not wait for them.
-- +goose StatementBegin
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM deliveries) THEN
        CREATE INDEX deliveries_outcome ON deliveries (outcome, id) WHERE outcome <> 1;
        CREATE INDEX deliveries_run ON deliveries (run, outcome, id) WHERE run IS NOT NULL;
    END IF;
END
$$;
-- +goose StatementEnd
