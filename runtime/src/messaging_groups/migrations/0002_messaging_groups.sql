CREATE TABLE messaging_groups (
    id           TEXT PRIMARY KEY,
    channel_type TEXT NOT NULL,
    account      TEXT NOT NULL,
    platform_id  TEXT NOT NULL,
    name         TEXT,
    created_at   INTEGER NOT NULL,
    UNIQUE (channel_type, platform_id, account)
);
