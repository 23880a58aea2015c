-- Since when the account takes part in a chat no longer, in milliseconds since 1970.
ALTER TABLE messaging_groups ADD COLUMN left_at INTEGER;
-- The ids that a chat had before: agents answer messages that name it so.
CREATE TABLE moved_chats (
    channel_type       TEXT NOT NULL,
    platform_id        TEXT NOT NULL,
    account            TEXT NOT NULL,
    messaging_group_id TEXT NOT NULL REFERENCES messaging_groups (id) ON DELETE CASCADE,
    PRIMARY KEY (channel_type, platform_id, account)
) WITHOUT ROWID;
CREATE INDEX moved_chats_group ON moved_chats (messaging_group_id);
