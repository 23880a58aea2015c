-- What is deferred for an address is found by its time, and costs its lane nothing until then.
CREATE INDEX deliveries_deferred ON deliveries (channel_type, account, platform_id, thread_id, due_at)
    WHERE state = 'deferred';
