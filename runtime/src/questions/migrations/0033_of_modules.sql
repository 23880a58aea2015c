-- A question that a module asks in a session's place: what comes of it is told to the module, and not to the agent.
ALTER TABLE questions ADD COLUMN module TEXT;
-- The module's name of it, and what it gave along, as JSON.
ALTER TABLE questions ADD COLUMN module_key TEXT;
ALTER TABLE questions ADD COLUMN payload TEXT;
-- The name of the person who answered, and whether an operator did.
ALTER TABLE questions ADD COLUMN answered_name TEXT;
ALTER TABLE questions ADD COLUMN by_operator INTEGER NOT NULL DEFAULT 0;
-- When the module had heard of it.
ALTER TABLE questions ADD COLUMN told_at INTEGER;
CREATE INDEX questions_untold ON questions (module, asked_at) WHERE module IS NOT NULL AND told_at IS NULL;
