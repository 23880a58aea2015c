-- A message by the id that its platform gave it: people change it later, and agents name it.
CREATE INDEX messages_in_platform_message ON messages_in (platform_message_id, platform_id)
    WHERE platform_message_id IS NOT NULL;
CREATE INDEX deliveries_platform_message ON deliveries (platform_message_id, platform_id)
    WHERE platform_message_id IS NOT NULL;
