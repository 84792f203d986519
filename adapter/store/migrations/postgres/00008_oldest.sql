-- +goose Up

-- The oldest pending event of each tenant of a connection, whatever its backlog is.
CREATE INDEX queue_oldest ON queue (connection, tenant, (id + 0));
