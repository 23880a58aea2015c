-- An operator gave the agent's part of the session's folder up: the next launch sets it aside and makes a new one.
ALTER TABLE sessions ADD COLUMN new_out INTEGER NOT NULL DEFAULT 0;
