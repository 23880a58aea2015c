-- The messages that no agent could answer, by when that was known: an operator is told how many there are of late.
CREATE INDEX messages_in_failed ON messages_in (settled_at, session_id) WHERE status = 'failed';
