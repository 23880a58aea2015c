-- How many sessions there are, so that `status` need not count them.
INSERT INTO totals SELECT 'sessions', COUNT(*) FROM sessions;
CREATE TRIGGER sessions_opened AFTER INSERT ON sessions
    BEGIN UPDATE totals SET count = count + 1 WHERE name = 'sessions'; END;
CREATE TRIGGER sessions_deleted AFTER DELETE ON sessions
    BEGIN UPDATE totals SET count = count - 1 WHERE name = 'sessions'; END;
