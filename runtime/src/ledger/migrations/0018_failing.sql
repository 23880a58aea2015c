-- Why the last run failed the messages it had under way; NULL since one was answered.
ALTER TABLE sessions ADD COLUMN failing TEXT;
CREATE INDEX sessions_failing ON sessions (id) WHERE failing IS NOT NULL;
CREATE INDEX sessions_quarantined ON sessions (id) WHERE quarantined IS NOT NULL;
-- Why a message was given up.
ALTER TABLE messages_in ADD COLUMN failure TEXT;
-- Suspects: while one is pending, a session's messages are shown one at a time.
ALTER TABLE messages_in ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_in_suspects ON messages_in (session_id) WHERE suspect;
