-- The one session for all that an agent group hears. Until now it was the newest, so this is the newest that no wiring
-- uses otherwise.
ALTER TABLE sessions ADD COLUMN agent_shared INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET agent_shared = 1 WHERE id IN (
    SELECT (
        SELECT s.id FROM sessions s
        WHERE s.agent_group_id = w.agent_group_id AND s.thread_id IS NULL AND NOT EXISTS (
            SELECT 1 FROM wirings other WHERE other.agent_group_id = s.agent_group_id
            AND other.messaging_group_id = s.messaging_group_id AND other.session_mode <> 'agent-shared')
        ORDER BY s.created_at DESC, s.id DESC LIMIT 1)
    FROM wirings w WHERE w.session_mode = 'agent-shared');
CREATE UNIQUE INDEX sessions_agent_shared ON sessions (agent_group_id) WHERE agent_shared;
