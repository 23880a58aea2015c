//! A row that waits for a while is kept with a time of the wall clock. When that clock is set, these times are shifted
//! with it: else a row would wait too long, or not at all. A time that an agent or a person named (`deliver_after`,
//! tasks) stays as it is.

use super::bump;
use super::turns::OPEN;
use crate::clock::{Timestamp, after};
use crate::db::{self, ReadTxn, WriteTxn, address_at};
use crate::error::Result;
use crate::id::SessionId;
use rusqlite::params;
use vestibule_plugin_api::Address;

/// A difference below this many milliseconds is no step.
const STEP_MIN_MS: i64 = 1_000;
/// The longest pause that the runtime itself makes, in milliseconds: it bounds every wait after a start of the machine,
/// when it is unknown what the clock did.
const PAUSE_MAX_MS: i64 = 80_000;
/// The key of the note of how the clock stood: the boot, and the offset in that boot.
const KEY: &str = "clock";

/// How the wall clock stands: in which boot of the machine, and how far from the time since that boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    /// The boot.
    pub boot_id: String,
    /// The wall clock's time less the time since the boot, in milliseconds.
    pub offset_ms: i64,
}

/// What happened to the clock since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It went on.
    Nothing,
    /// It was set, by this many milliseconds.
    Step(i64),
    /// It cannot be known: the machine was started since.
    Unknown,
}

/// Pure.
fn change(before: Option<&ClockReading>, now: &ClockReading) -> Change {
    match before {
        None => Change::Nothing,
        Some(before) if before.boot_id != now.boot_id => Change::Unknown,
        Some(before) => match now.offset_ms.saturating_sub(before.offset_ms) {
            step if step.abs() < STEP_MIN_MS => Change::Nothing,
            step => Change::Step(step),
        },
    }
}

/// The rows that got another time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shifted {
    /// By how many milliseconds the clock was set, if it was.
    pub step_ms: Option<i64>,
    /// The addresses for which a delivery waits.
    pub addresses: Vec<Address>,
    /// The sessions in which a message waits.
    pub sessions: Vec<SessionId>,
}

/// Whether the clock was set since the last [`note_clock`].
///
/// # Errors
/// SQLite fails.
pub fn was_set(db: &ReadTxn, reading: &ClockReading) -> Result<bool> {
    Ok(change(last(db)?.as_ref(), reading) != Change::Nothing)
}

/// Notes how the clock stands, and shifts the times of what waits if the clock was set since the last note.
///
/// # Errors
/// SQLite fails.
pub fn note_clock(db: &WriteTxn, reading: &ClockReading, now: Timestamp) -> Result<Shifted> {
    let before = last(db)?;
    let change = change(before.as_ref(), reading);
    // A difference below a step is not noted: many of them add up to one.
    if before.is_none() || change != Change::Nothing {
        db::set_note(db, KEY, &format!("{} {}", reading.boot_id, reading.offset_ms))?;
    }
    // As SQL: the new time of a pause, and of the moment from which something is tried.
    let (step_ms, pause, since) = match change {
        Change::Nothing => return Ok(Shifted::default()),
        Change::Step(step) => (Some(step), format!("{{}} + {step}"), format!("due_at + {step}")),
        Change::Unknown => {
            let latest = after(now, PAUSE_MAX_MS).0;
            (None, format!("MIN({{}}, {latest})"), format!("MIN(due_at, {})", now.0))
        }
    };
    let next_attempt_at = pause.replace("{}", "next_attempt_at");
    db.execute(
        &format!(
            "UPDATE deliveries SET due_at = {since}, \
             next_attempt_at = CASE next_attempt_at WHEN 0 THEN 0 ELSE {next_attempt_at} END WHERE {OPEN}"
        ),
        [],
    )?;
    let sessions = shift_messages(db, &pause.replace("{}", "process_after"))?;
    Ok(Shifted { step_ms, addresses: waiting_addresses(db)?, sessions })
}

fn last(db: &ReadTxn) -> Result<Option<ClockReading>> {
    let kept = db::note(db, KEY)?;
    let reading = |text: String| {
        let (boot_id, offset_ms) = text.split_once(' ')?;
        Some(ClockReading { boot_id: boot_id.to_owned(), offset_ms: offset_ms.parse().ok()? })
    };
    Ok(kept.and_then(reading))
}

/// Gives waiting messages another time; a task that has not failed keeps its own.
fn shift_messages(db: &WriteTxn, process_after: &str) -> Result<Vec<SessionId>> {
    let waits = "status = 'pending' AND process_after IS NOT NULL AND (kind <> 'task' OR tries > 0)";
    let mut statement = db.prepare(&format!("SELECT DISTINCT session_id FROM messages_in WHERE {waits}"))?;
    let sessions = statement.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<Vec<SessionId>>>()?;
    let sql = format!(
        "UPDATE messages_in SET process_after = {process_after}, change = ?2 WHERE session_id = ?1 AND {waits}"
    );
    for session_id in &sessions {
        if let Some(change) = bump(db, session_id)? {
            db.prepare_cached(&sql)?.execute(params![session_id, change])?;
        }
    }
    Ok(sessions)
}

fn waiting_addresses(db: &ReadTxn) -> Result<Vec<Address>> {
    let of = |which: &str| {
        format!(
            "SELECT DISTINCT channel_type, account, platform_id, thread_id FROM deliveries WHERE {which} \
             AND channel_type IS NOT NULL AND account IS NOT NULL AND platform_id IS NOT NULL"
        )
    };
    let sql = format!("{} UNION {}", of("state = 'deferred'"), of(&format!("{OPEN} AND state = 'pending'")));
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([], |r| address_at(r, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::deliveries::tests::{address, ledger, reply};
    use super::super::record_reply;
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn reading(boot_id: &str, offset_ms: i64) -> ClockReading {
        ClockReading { boot_id: boot_id.into(), offset_ms }
    }

    #[test]
    fn what_happened_to_the_clock() {
        for (before, now, want) in [
            (None, reading("a", 5), Change::Nothing),
            (Some(reading("a", 5)), reading("a", 5), Change::Nothing),
            (Some(reading("a", 5)), reading("a", 5 + 999), Change::Nothing),
            (Some(reading("a", 5)), reading("a", 5 - 999), Change::Nothing),
            (Some(reading("a", 5)), reading("a", 5 + 1_000), Change::Step(1_000)),
            (Some(reading("a", 5)), reading("a", 5 - HOUR), Change::Step(-HOUR)),
            (Some(reading("a", 5)), reading("b", 5), Change::Unknown),
            (Some(reading("a", i64::MIN)), reading("a", i64::MAX), Change::Step(i64::MAX)),
        ] {
            assert_eq!(change(before.as_ref(), &now), want, "{before:?} {now:?}");
        }
    }

    /// Two replies that wait for their next attempt, one that is deferred, and messages with every kind of time.
    fn waiting(now: i64) -> WriteTxn<'static> {
        let db = ledger();
        for (id, seq) in [("first", 1), ("again", 3), ("at", 5), ("gone", 7)] {
            record_reply(&db, &"s".into(), &reply(id, seq), Ok(&address()), Timestamp(now - HOUR))
                .expect("it is new");
        }
        db.execute_batch(&format!(
            "UPDATE deliveries SET next_attempt_at = {now} + 30000 WHERE message_out_id = 'again'; \
             UPDATE deliveries SET state = 'deferred', due_at = {now} + 2 * {HOUR} WHERE message_out_id = 'at'; \
             UPDATE deliveries SET state = 'failed', settled_at = 1 WHERE message_out_id = 'gone'; \
             INSERT INTO messages_in (session_id, id, seq, kind, timestamp, status, process_after, tries, \"trigger\", content, \
             change) VALUES ('s', 'new', 2, 'chat', 0, 'pending', NULL, 0, 1, '{{}}', 1), \
             ('s', 'tried', 4, 'chat', 0, 'pending', {now} + 20000, 3, 1, '{{}}', 1), \
             ('s', 'task', 6, 'task', 0, 'pending', {now} + 20000, 0, 1, '{{}}', 1), \
             ('s', 'tried task', 8, 'task', 0, 'pending', {now} + 20000, 1, 1, '{{}}', 1), \
             ('s', 'done', 10, 'chat', 0, 'completed', {now} + 20000, 1, 1, '{{}}', 1)"
        ))
        .expect("it fills");
        note_clock(&db, &reading("boot", 0), Timestamp(now)).expect("it is noted");
        db
    }

    /// The times of what waits, from `now` on.
    fn times(db: &ReadTxn, now: i64) -> Vec<(String, Option<i64>, Option<i64>)> {
        let sql = "SELECT message_out_id, NULLIF(next_attempt_at, 0) - ?1, due_at - ?1 FROM deliveries \
                   UNION ALL SELECT id, process_after - ?1, NULL FROM messages_in";
        let mut statement = db.prepare(sql).expect("it is SQL");
        let rows = statement.query_map([now], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).expect("it runs");
        rows.collect::<rusqlite::Result<_>>().expect("rows")
    }

    #[test]
    fn what_waits_for_a_while_goes_with_the_clock_and_what_has_a_time_does_not() {
        let now = 1_000 * HOUR;
        for step in [-2 * HOUR, 2 * HOUR] {
            let db = waiting(now);
            let before = times(&db, now);
            assert_eq!(
                note_clock(&db, &reading("boot", 999), Timestamp(now)).expect("noted"),
                Shifted::default()
            );
            assert!(was_set(&db, &reading("boot", step)).expect("it answers"));
            let shifted =
                note_clock(&db, &reading("boot", step), Timestamp(now + step)).expect("it is noted");
            assert_eq!(
                shifted,
                Shifted { step_ms: Some(step), addresses: vec![address()], sessions: vec!["s".into()] }
            );
            let stays = ["at", "task", "gone", "done"];
            let moved = |time: Option<i64>, id: &str| {
                time.map(|time| if stays.contains(&id) { time - step } else { time })
            };
            let want: Vec<_> = before
                .into_iter()
                .map(|(id, at, due)| {
                    let (at, due) = (moved(at, &id), moved(due, &id));
                    (id, at, due)
                })
                .collect();
            assert_eq!(times(&db, now + step), want, "{step}");
            let sql = "SELECT group_concat(id) FROM messages_in WHERE change > 1";
            let anew: String = db.query_row(sql, [], |r| r.get(0)).expect("a row");
            assert_eq!(anew, "tried,tried task", "their file is told");
            assert!(!was_set(&db, &reading("boot", step)).expect("it answers"), "it is noted");
        }
    }

    #[test]
    fn after_a_new_start_of_the_machine_nothing_waits_longer_than_it_can_have_to() {
        let now = 1_000 * HOUR;
        let db = waiting(now);
        // The machine's clock has no battery: it is years back.
        let shifted = note_clock(&db, &reading("other", 5), Timestamp(HOUR)).expect("it is noted");
        assert_eq!((shifted.step_ms, shifted.sessions.len()), (None, 1));
        let at = |id: &str| times(&db, HOUR).into_iter().find(|row| row.0 == id).map(|row| (row.1, row.2));
        assert_eq!(at("again"), Some((Some(PAUSE_MAX_MS), Some(0))));
        assert_eq!(at("first"), Some((None, Some(0))));
        assert_eq!(at("tried"), Some((Some(PAUSE_MAX_MS), None)));
        assert_eq!(at("at"), Some((None, Some(now + HOUR))), "its time is one of the wall clock");
    }
}
