-- When a message was settled; NULL while it waits.
ALTER TABLE messages_in ADD COLUMN settled_at INTEGER;
UPDATE messages_in SET settled_at = timestamp WHERE status IN ('completed', 'failed');
CREATE INDEX messages_in_settled ON messages_in (settled_at, session_id, id) WHERE settled_at IS NOT NULL;
CREATE INDEX messages_in_series ON messages_in (session_id, series_id) WHERE series_id <> id;
CREATE INDEX deliveries_settled ON deliveries (settled_at, session_id) WHERE settled_at IS NOT NULL;
CREATE INDEX deliveries_in_reply_to ON deliveries (session_id, in_reply_to) WHERE in_reply_to IS NOT NULL;

-- What was pruned and may still be in a session's files, by the change that pruned it: `message` and `delivered` name
-- rows of inbound.db, `inbox` a folder of files.
CREATE TABLE pruned (
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    change     INTEGER NOT NULL,
    what       TEXT NOT NULL CHECK (what IN ('message', 'delivered', 'inbox')),
    name       TEXT NOT NULL,
    PRIMARY KEY (session_id, change, what, name)
) WITHOUT ROWID;

-- The ids of messages that were pruned, each as a number: a runner may remember that it has answered them, so that they
-- are never given again.
CREATE TABLE given_ids (
    hash INTEGER PRIMARY KEY
);

-- Up to this number a session's replies were pruned: its runner may delete its own.
ALTER TABLE sessions ADD COLUMN pruned_floor INTEGER NOT NULL DEFAULT 0;

-- How many deliveries went well, those that are forgotten included.
CREATE TABLE totals (
    name  TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO totals SELECT 'delivered', COUNT(*) FROM deliveries WHERE state = 'delivered';

-- Which change of its destinations an agent has seen. Its sessions' files follow when a runner reads them.
ALTER TABLE agent_groups ADD COLUMN destinations_version INTEGER NOT NULL DEFAULT 1;

-- What an operating system may have left unflushed.
CREATE INDEX sessions_unflushed ON sessions (boot_id) WHERE boot_id IS NOT NULL;

-- The oldest drops are forgotten.
CREATE INDEX drops_age ON drops (last_seen);
