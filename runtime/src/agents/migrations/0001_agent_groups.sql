CREATE TABLE agent_groups (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    folder        TEXT NOT NULL UNIQUE,
    provider      TEXT NOT NULL DEFAULT 'echo',
    command       TEXT,
    env           TEXT NOT NULL DEFAULT '[]',
    time_limit_ms INTEGER NOT NULL DEFAULT 300000,
    network       INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL
);
