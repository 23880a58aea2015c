-- The table anew, because SQLite changes no CHECK: a delivery may be deferred to a time that its agent named, held until
-- an operator decides, or dropped by one.
CREATE TABLE deliveries_anew (
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
    content_bytes       INTEGER,
    state               TEXT NOT NULL CHECK (state IN ('deferred', 'held', 'pending', 'sending', 'unknown', 'parked',
                        'delivered', 'failed', 'dropped')),
    attempts            INTEGER NOT NULL DEFAULT 0,
    next_attempt_at     INTEGER NOT NULL DEFAULT 0,
    last_error          TEXT,
    possible_duplicate  INTEGER NOT NULL DEFAULT 0,
    look_up             INTEGER NOT NULL DEFAULT 0,
    platform_message_id TEXT,
    taken_at            INTEGER NOT NULL,
    -- Since when it may go out: the time in which it is tried begins then.
    due_at              INTEGER NOT NULL DEFAULT 0,
    -- Its place among its session's, from the session's counter: times may go back, and numbers may be given twice.
    position            INTEGER NOT NULL DEFAULT 0,
    settled_at          INTEGER,
    change              INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session_id, message_out_id)
) WITHOUT ROWID;
INSERT INTO deliveries_anew (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id,
    thread_id, content, content_bytes, state, attempts, next_attempt_at, last_error, possible_duplicate, look_up,
    platform_message_id, taken_at, due_at, position, settled_at, change)
SELECT session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id,
    thread_id, content, content_bytes, state, attempts, next_attempt_at, last_error, possible_duplicate, look_up,
    platform_message_id, taken_at, taken_at, row_number() OVER (PARTITION BY session_id ORDER BY taken_at, seq),
    settled_at, change
FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_anew RENAME TO deliveries;

CREATE INDEX deliveries_change ON deliveries (session_id, change);
CREATE INDEX deliveries_seq ON deliveries (session_id, seq);
CREATE INDEX deliveries_open ON deliveries (channel_type, account, platform_id, thread_id, session_id, position)
    WHERE state IN ('pending', 'sending', 'unknown', 'parked');
CREATE INDEX deliveries_unsettled ON deliveries (session_id, settled_at, content_bytes) WHERE settled_at IS NULL;
-- What an operator is shown; no delivery that goes well ever stands in it.
CREATE INDEX deliveries_set_aside ON deliveries (taken_at) WHERE state IN ('deferred', 'held', 'failed', 'dropped');

ALTER TABLE sessions ADD COLUMN last_position INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET last_position =
    COALESCE((SELECT MAX(position) FROM deliveries WHERE deliveries.session_id = sessions.id), 0);
