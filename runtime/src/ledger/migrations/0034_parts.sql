-- How much of a delivery has gone out, so that no part is sent twice: how many parts, and what the channel noted of them.
ALTER TABLE deliveries ADD COLUMN sent_parts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN sent_note TEXT;
-- A digest of what was cut into these parts: a module that reviews may have put other words in its place since.
ALTER TABLE deliveries ADD COLUMN sent_of TEXT;
-- What its platform said of it after it took it: 'sent', 'delivered', 'read' or 'failed'.
ALTER TABLE deliveries ADD COLUMN fate TEXT;

-- The messages on its platform that a delivery became beside the first, whose id stands in the delivery itself.
CREATE TABLE further_messages (
    session_id          TEXT NOT NULL,
    message_out_id      TEXT NOT NULL,
    number              INTEGER NOT NULL,
    platform_message_id TEXT NOT NULL,
    PRIMARY KEY (session_id, message_out_id, number),
    FOREIGN KEY (session_id, message_out_id) REFERENCES deliveries (session_id, message_out_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX further_messages_platform_message ON further_messages (platform_message_id);
