-- Whether the session's channel is still to be told that an agent listens in its thread.
ALTER TABLE sessions ADD COLUMN unsubscribed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_unsubscribed ON sessions (id) WHERE unsubscribed;
