-- The files of messages, both ways. Their bytes lie in the home's `attachments/`, named by `blob`; without
-- one `left_out` says why.
CREATE TABLE files (
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    direction  TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    message_id TEXT NOT NULL,
    position   INTEGER NOT NULL,
    -- Below the session's inbox/, for a file on its way in.
    folder     TEXT,
    name       TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    blob       TEXT,
    left_out   TEXT,
    PRIMARY KEY (session_id, direction, message_id, position)
) WITHOUT ROWID;
CREATE INDEX files_blob ON files (blob);

-- Whether the channel is asked first if an earlier attempt has arrived.
ALTER TABLE deliveries ADD COLUMN look_up INTEGER NOT NULL DEFAULT 0;
