-- Values that are secrets, such as a refresh token: a backup says that it holds some.
ALTER TABLE plugin_state ADD COLUMN secret INTEGER NOT NULL DEFAULT 0 CHECK (secret IN (0, 1));
