-- What becomes of a change to a message that the agent heard or wrote.
ALTER TABLE wirings ADD COLUMN changes TEXT NOT NULL DEFAULT 'note' CHECK (changes IN ('note', 'wake', 'drop'));
