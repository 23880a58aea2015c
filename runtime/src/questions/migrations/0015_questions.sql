-- What agents asked people with a choice of answers. The token is minted here, one for each question: who
-- answers names it and the offer.
CREATE TABLE questions (
    token          TEXT PRIMARY KEY,
    session_id     TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    -- The reply that asks; in the session's files its id is the question's name.
    message_out_id TEXT NOT NULL,
    channel_type   TEXT NOT NULL,
    account        TEXT NOT NULL,
    platform_id    TEXT NOT NULL,
    thread_id      TEXT,
    title          TEXT NOT NULL,
    question       TEXT NOT NULL,
    -- JSON: what can be chosen, in order.
    options        TEXT NOT NULL,
    asked_at       INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    answered_at    INTEGER,
    -- The number of the option, from 0, and who chose it.
    answer         INTEGER,
    answered_by    TEXT,
    UNIQUE (session_id, message_out_id)
) WITHOUT ROWID;
CREATE INDEX questions_open ON questions (channel_type, account, platform_id) WHERE answered_at IS NULL;
