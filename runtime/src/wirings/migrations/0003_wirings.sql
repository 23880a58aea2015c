CREATE TABLE wirings (
    id                     TEXT PRIMARY KEY,
    messaging_group_id     TEXT NOT NULL REFERENCES messaging_groups (id) ON DELETE CASCADE,
    agent_group_id         TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    engage_mode            TEXT NOT NULL CHECK (engage_mode IN ('pattern', 'mention')),
    engage_pattern         TEXT,
    session_mode           TEXT NOT NULL CHECK (session_mode IN ('shared', 'per-thread', 'agent-shared')),
    ignored_message_policy TEXT NOT NULL CHECK (ignored_message_policy IN ('drop', 'accumulate')),
    priority               INTEGER NOT NULL DEFAULT 0,
    created_at             INTEGER NOT NULL,
    UNIQUE (messaging_group_id, agent_group_id)
);
