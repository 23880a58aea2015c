-- The highest seq of a reply that was taken under outbound_boot_id. A power cut can take replies back out of
-- the agent's file, and later ones get their numbers: what was taken under another boot says nothing about them.
ALTER TABLE sessions ADD COLUMN outbound_seq INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET outbound_seq =
    COALESCE((SELECT MAX(seq) FROM deliveries WHERE deliveries.session_id = sessions.id), 0);
