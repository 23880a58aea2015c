-- The process that last changed a session's rows, and the change number from before it did: what its file shows may not
-- be newer when that process first looks at it.
ALTER TABLE sessions ADD COLUMN changed_by TEXT;
ALTER TABLE sessions ADD COLUMN change_before INTEGER NOT NULL DEFAULT 0;

-- The database was put back to an earlier state: until what the session's runner wrote has been read once, it is held.
ALTER TABLE sessions ADD COLUMN set_back INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_set_back ON sessions (id) WHERE set_back;
