-- What was left out, by chat and reason. platform_id is empty when the event named no chat.
CREATE TABLE drops (
    channel_type  TEXT NOT NULL,
    account       TEXT NOT NULL,
    platform_id   TEXT NOT NULL,
    reason        TEXT NOT NULL,
    message_count INTEGER NOT NULL,
    last_sender   TEXT,
    first_seen    INTEGER NOT NULL,
    last_seen     INTEGER NOT NULL,
    PRIMARY KEY (channel_type, account, platform_id, reason)
) WITHOUT ROWID;
