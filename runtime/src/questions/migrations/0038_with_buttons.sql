-- Whether the question was shown with buttons when it was last sent: then words answer it no more.
ALTER TABLE questions ADD COLUMN with_buttons INTEGER NOT NULL DEFAULT 0;
