-- The table anew, because SQLite takes no reference away: a delivery may belong to no session, but be a module's own words.
-- Then `module:` and the module's name stand in the place of the session, and `in_reply_to` is the platform's id. With a
-- session its deliveries still go.
CREATE TABLE deliveries_of_all (
    session_id          TEXT NOT NULL,
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
INSERT INTO deliveries_of_all (session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id,
    thread_id, content, content_bytes, state, attempts, next_attempt_at, last_error, possible_duplicate, look_up,
    platform_message_id, taken_at, due_at, position, settled_at, change)
SELECT session_id, message_out_id, seq, in_reply_to, kind, channel_type, account, platform_id,
    thread_id, content, content_bytes, state, attempts, next_attempt_at, last_error, possible_duplicate, look_up,
    platform_message_id, taken_at, due_at, position, settled_at, change
FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_of_all RENAME TO deliveries;

CREATE INDEX deliveries_change ON deliveries (session_id, change);
CREATE INDEX deliveries_seq ON deliveries (session_id, seq);
CREATE INDEX deliveries_open ON deliveries (channel_type, account, platform_id, thread_id, session_id, position)
    WHERE state IN ('pending', 'sending', 'unknown', 'parked');
CREATE INDEX deliveries_set_aside ON deliveries (taken_at) WHERE state IN ('deferred', 'held', 'failed', 'dropped');
CREATE INDEX deliveries_deferred ON deliveries (channel_type, account, platform_id, thread_id, due_at)
    WHERE state = 'deferred';
CREATE INDEX deliveries_settled ON deliveries (settled_at, session_id) WHERE settled_at IS NOT NULL;
CREATE INDEX deliveries_in_reply_to ON deliveries (session_id, in_reply_to) WHERE in_reply_to IS NOT NULL;
CREATE INDEX deliveries_unsettled ON deliveries (session_id, settled_at, state, content_bytes)
    WHERE settled_at IS NULL AND state <> 'deferred';
CREATE INDEX deliveries_later ON deliveries (session_id, state, content_bytes) WHERE state = 'deferred';
CREATE INDEX deliveries_platform_message ON deliveries (platform_message_id, platform_id)
    WHERE platform_message_id IS NOT NULL;
-- How much modules have said in a chat of late.
CREATE INDEX deliveries_own ON deliveries (channel_type, account, platform_id, taken_at) WHERE session_id GLOB 'module:*';

CREATE TRIGGER sessions_deleted_deliveries AFTER DELETE ON sessions
    BEGIN DELETE FROM deliveries WHERE session_id = OLD.id; END;
INSERT INTO totals VALUES ('own_words', 0);
