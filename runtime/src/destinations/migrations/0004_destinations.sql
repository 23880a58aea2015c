-- The names an agent may send to: the map and the permission in one table.
CREATE TABLE destinations (
    agent_group_id TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    local_name     TEXT NOT NULL,
    target_type    TEXT NOT NULL CHECK (target_type IN ('channel', 'agent')),
    target_id      TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (agent_group_id, local_name)
);
CREATE INDEX destinations_target ON destinations (target_type, target_id);
