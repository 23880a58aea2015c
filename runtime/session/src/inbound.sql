-- The runtime's file: only the ledger writes it, the runner reads it.
-- Names, types and words are NanoClaw v2's. Additions are nullable columns at the end, and tables of our own.
CREATE TABLE messages_in (
    id                  TEXT PRIMARY KEY,
    seq                 INTEGER UNIQUE,
    kind                TEXT NOT NULL,
    timestamp           TEXT NOT NULL,
    status              TEXT DEFAULT 'pending',
    process_after       TEXT,
    recurrence          TEXT,
    series_id           TEXT,
    tries               INTEGER DEFAULT 0,
    "trigger"           INTEGER NOT NULL DEFAULT 1,
    platform_id         TEXT,
    channel_type        TEXT,
    thread_id           TEXT,
    content             TEXT NOT NULL,
    source_session_id   TEXT,
    on_wake             INTEGER NOT NULL DEFAULT 0,
    account             TEXT,
    platform_message_id TEXT
);
CREATE INDEX idx_messages_in_series ON messages_in (series_id);
-- What a poll reads, whatever the age of the session.
CREATE INDEX idx_messages_in_pending ON messages_in (seq) WHERE status = 'pending';

CREATE TABLE delivered (
    message_out_id      TEXT PRIMARY KEY,
    platform_message_id TEXT,
    status              TEXT NOT NULL DEFAULT 'delivered',
    delivered_at        TEXT NOT NULL
);

CREATE TABLE destinations (
    name           TEXT PRIMARY KEY,
    display_name   TEXT,
    type           TEXT NOT NULL,
    channel_type   TEXT,
    platform_id    TEXT,
    agent_group_id TEXT,
    account        TEXT
);

CREATE TABLE session_routing (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    channel_type TEXT,
    platform_id  TEXT,
    thread_id    TEXT,
    account      TEXT
);

-- The last change of the ledger that this file shows, written in the same transaction as the change; the same of the
-- agent's destinations; the number up to which replies are settled and forgotten; and which version of these tables
-- this is.
CREATE TABLE vestibule_projection (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    change         INTEGER NOT NULL,
    destinations   INTEGER NOT NULL DEFAULT 0,
    pruned_floor INTEGER NOT NULL DEFAULT 0,
    layout         INTEGER NOT NULL
);
