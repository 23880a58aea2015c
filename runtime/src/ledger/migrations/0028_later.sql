-- A reply for later holds nothing up: it does not count among those that a session has pending, and has a limit of its own.
DROP INDEX deliveries_unsettled;
CREATE INDEX deliveries_unsettled ON deliveries (session_id, settled_at, state, content_bytes)
    WHERE settled_at IS NULL AND state <> 'deferred';
CREATE INDEX deliveries_later ON deliveries (session_id, state, content_bytes) WHERE state = 'deferred';
