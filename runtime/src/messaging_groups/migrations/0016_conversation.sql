-- What the channel says of a chat; `name` is what the operator calls it.
ALTER TABLE messaging_groups ADD COLUMN title TEXT;
ALTER TABLE messaging_groups ADD COLUMN is_group INTEGER;
