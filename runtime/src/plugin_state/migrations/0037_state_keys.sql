-- The keys without their values: they are counted and listed at each write, and a value may be long.
CREATE INDEX plugin_state_keys ON plugin_state (channel_type, account, key);
