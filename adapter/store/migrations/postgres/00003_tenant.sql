-- +goose Up

-- Events are sent to the tenant that they were accepted for, so each tenant of a
-- connection has a due order of its own. It replaces that of the connection.
CREATE INDEX queue_tenant_due ON queue (connection, tenant, due_at, id);
DROP INDEX queue_due;
