-- How many messages between agents led to the newest row that woke the agent; 0 when somebody on a channel
-- wrote it.
ALTER TABLE sessions ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_in_agents ON messages_in (session_id, platform_id, seq) WHERE channel_type = 'agent';
