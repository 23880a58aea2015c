CREATE TABLE sessions (
    id                 TEXT PRIMARY KEY,
    agent_group_id     TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    messaging_group_id TEXT REFERENCES messaging_groups (id) ON DELETE SET NULL,
    thread_id          TEXT,
    created_at         INTEGER NOT NULL,
    last_active        INTEGER NOT NULL,
    -- The ledger's counters: the last seq given, the last change made, the last change known to be in
    -- the file, and the last change of destinations or routing.
    last_seq           INTEGER NOT NULL DEFAULT 0,
    change             INTEGER NOT NULL DEFAULT 1,
    projected          INTEGER NOT NULL DEFAULT 0,
    routing_change     INTEGER NOT NULL DEFAULT 1,
    -- The boot under which inbound.db was last written and not flushed.
    boot_id            TEXT,
    -- A runner was started and its end is not on record.
    running            INTEGER NOT NULL DEFAULT 0,
    -- Why nothing runs in it until an operator releases it: its files cannot be read.
    quarantined        TEXT,
    -- The boot under which replies were last taken, and the seq below which they are all settled.
    outbound_boot_id   TEXT,
    outbound_floor     INTEGER NOT NULL DEFAULT 0,
    -- inbound.db was not flushed before the operating system ended: it is made again, never trusted.
    rebuild            INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sessions_lookup ON sessions (agent_group_id, messaging_group_id, thread_id);
CREATE INDEX sessions_unprojected ON sessions (id) WHERE change > projected;
CREATE INDEX sessions_running ON sessions (id) WHERE running;
