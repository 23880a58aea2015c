-- Signed webhooks that were taken, the newest ones: one that was recorded and is posted again is known after a restart.
CREATE TABLE taken_webhooks (
    number       INTEGER PRIMARY KEY,
    channel_type TEXT NOT NULL,
    account      TEXT NOT NULL,
    signature    BLOB NOT NULL
);
