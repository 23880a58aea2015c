-- The files of a session, as they are made today. Generated: VESTIBULE_WRITE_GOLDENS=1 cargo nextest run --workspace the_schema_is_as_documented
-- Names, types and words are NanoClaw v2's; ours are the columns `account` and `platform_message_id` at the end of
-- messages_in, `account` elsewhere, and the tables vestibule_*.

-- inbound.db

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
CREATE TABLE session_routing (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    channel_type TEXT,
    platform_id  TEXT,
    thread_id    TEXT,
    account      TEXT
);
CREATE TABLE vestibule_projection (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    change         INTEGER NOT NULL,
    destinations   INTEGER NOT NULL DEFAULT 0,
    pruned_floor INTEGER NOT NULL DEFAULT 0,
    layout         INTEGER NOT NULL
);
CREATE INDEX idx_messages_in_pending ON messages_in (seq) WHERE status = 'pending';
CREATE INDEX idx_messages_in_series ON messages_in (series_id);

-- outbound.db

CREATE TABLE container_state (
    id                       INTEGER PRIMARY KEY CHECK (id = 1),
    current_tool             TEXT,
    tool_declared_timeout_ms INTEGER,
    tool_started_at          TEXT,
    updated_at               TEXT NOT NULL
);
CREATE TABLE messages_out (
    id            TEXT PRIMARY KEY,
    seq           INTEGER UNIQUE,
    in_reply_to   TEXT,
    timestamp     TEXT NOT NULL,
    deliver_after TEXT,
    recurrence    TEXT,
    kind          TEXT NOT NULL,
    platform_id   TEXT,
    channel_type  TEXT,
    thread_id     TEXT,
    content       TEXT NOT NULL,
    account       TEXT
);
CREATE TABLE processing_ack (
    message_id     TEXT PRIMARY KEY,
    status         TEXT NOT NULL,
    status_changed TEXT NOT NULL
);
CREATE TABLE session_state (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
