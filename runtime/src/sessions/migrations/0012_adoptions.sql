-- Session folders that somebody else made, and the sessions they became. Until `done_at` is set the
-- session is in quarantine, and taking the folder over again goes on where it stopped.
CREATE TABLE adoptions (
    source     TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    -- The highest inbound number when it began: rows keep theirs up to here, later ones get new ones.
    highest_in INTEGER NOT NULL,
    begun_at   INTEGER NOT NULL,
    done_at    INTEGER
) WITHOUT ROWID;
CREATE INDEX adoptions_session ON adoptions (session_id);
