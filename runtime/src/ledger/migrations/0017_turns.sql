-- At an address sessions take turns: the head of each is found without a look at what waits behind it.
DROP INDEX deliveries_open;
CREATE INDEX deliveries_open ON deliveries (channel_type, account, platform_id, thread_id, session_id, taken_at, seq)
    WHERE state IN ('pending', 'sending', 'unknown', 'parked');

-- How many bytes the content had as it was read: a refused reply's may be left out, and is empty then. NULL where
-- the outcome was final before this was counted.
ALTER TABLE deliveries ADD COLUMN content_bytes INTEGER;
UPDATE deliveries SET content_bytes = length(CAST(content AS BLOB))
    WHERE state IN ('pending', 'sending', 'unknown', 'parked');

-- What a session has open is counted from this index alone, which no attempt changes.
CREATE INDEX deliveries_unsettled ON deliveries (session_id, settled_at, content_bytes) WHERE settled_at IS NULL;

-- How many bytes of refused replies are kept.
ALTER TABLE sessions ADD COLUMN refused_bytes INTEGER NOT NULL DEFAULT 0;
