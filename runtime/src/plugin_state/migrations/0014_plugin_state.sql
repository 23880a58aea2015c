-- What channels keep: cursors and the like, by account. Written in the commit of the message it belongs to.
CREATE TABLE plugin_state (
    channel_type TEXT NOT NULL,
    account      TEXT NOT NULL,
    key          TEXT NOT NULL,
    value        TEXT NOT NULL,
    PRIMARY KEY (channel_type, account, key)
) WITHOUT ROWID;
