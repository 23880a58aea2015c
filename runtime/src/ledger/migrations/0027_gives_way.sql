-- Whether the session's runner is shown no message that it has not taken yet: after its turn it gives its place to another
-- session. The end of the run ends it.
ALTER TABLE sessions ADD COLUMN gives_way INTEGER NOT NULL DEFAULT 0;
