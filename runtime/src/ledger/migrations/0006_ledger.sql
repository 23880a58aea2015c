-- Every row of every inbound.db. `change` is the session's change number that last touched the row.
CREATE TABLE messages_in (
    session_id          TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    id                  TEXT NOT NULL,
    seq                 INTEGER NOT NULL,
    kind                TEXT NOT NULL,
    timestamp           INTEGER NOT NULL,
    status              TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'failed', 'paused')),
    process_after       INTEGER,
    recurrence          TEXT,
    series_id           TEXT,
    tries               INTEGER NOT NULL DEFAULT 0,
    "trigger"           INTEGER NOT NULL,
    channel_type        TEXT,
    account             TEXT,
    platform_id         TEXT,
    thread_id           TEXT,
    content             TEXT NOT NULL,
    source_session_id   TEXT,
    on_wake             INTEGER NOT NULL DEFAULT 0,
    platform_message_id TEXT,
    change              INTEGER NOT NULL,
    PRIMARY KEY (session_id, id)
) WITHOUT ROWID;
CREATE INDEX messages_in_change ON messages_in (session_id, change);
CREATE INDEX messages_in_pending ON messages_in (session_id, process_after) WHERE status = 'pending';

-- One record for each reply, with its whole story.
CREATE TABLE deliveries (
    session_id          TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    message_out_id      TEXT NOT NULL,
    seq                 INTEGER NOT NULL,
    in_reply_to         TEXT,
    kind                TEXT NOT NULL,
    channel_type        TEXT,
    account             TEXT,
    platform_id         TEXT,
    thread_id           TEXT,
    content             TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'unknown', 'parked', 'delivered', 'failed')),
    attempts            INTEGER NOT NULL DEFAULT 0,
    next_attempt_at     INTEGER NOT NULL DEFAULT 0,
    last_error          TEXT,
    possible_duplicate  INTEGER NOT NULL DEFAULT 0,
    platform_message_id TEXT,
    taken_at            INTEGER NOT NULL,
    settled_at          INTEGER,
    change              INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session_id, message_out_id)
) WITHOUT ROWID;
CREATE INDEX deliveries_change ON deliveries (session_id, change);
CREATE INDEX deliveries_seq ON deliveries (session_id, seq);
CREATE INDEX deliveries_open ON deliveries (channel_type, account, platform_id, thread_id, taken_at, seq)
    WHERE state IN ('pending', 'sending', 'unknown', 'parked');

-- Events that were taken, so that none is taken twice.
CREATE TABLE event_ids (
    channel_type TEXT NOT NULL,
    account      TEXT NOT NULL,
    event_id     TEXT NOT NULL,
    seen_at      INTEGER NOT NULL,
    PRIMARY KEY (channel_type, account, event_id)
) WITHOUT ROWID;
CREATE INDEX event_ids_age ON event_ids (seen_at);
