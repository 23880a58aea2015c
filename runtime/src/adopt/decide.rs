//! What becomes of a foreign row. Pure. Every word of it is untrusted.

use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use vestibule_session::{
    AckStatus, ForeignIn, ForeignSettled, MessageIn, Settled, has_script, next_odd, parse_time,
};

/// The kind of a row that is no message: what the agent is to do at a time.
const TASK: &str = "task";
/// No honest session counts this far; a row that claims more is numbered anew.
pub const SEQ_MAX: i64 = 1 << 48;
/// A row that died this often with its runner is given up, wherever it died.
const TRIES_MAX: i64 = 1000;

/// Keeps the numbers of rows that come in order, and says which get new ones.
pub struct Numbers {
    last: i64,
    highest: i64,
    parity: i64,
}

impl Numbers {
    /// Even numbers up to `highest`, the folder's highest when it was first looked at.
    pub fn inbound(highest: i64) -> Numbers {
        Numbers { last: 0, highest, parity: 0 }
    }

    /// Odd numbers.
    pub fn outbound() -> Numbers {
        Numbers { last: 0, highest: SEQ_MAX, parity: 1 }
    }

    /// Whether a row keeps its number: it has the right parity, rises, and is none that was given out here.
    pub fn keeps(&mut self, seq: i64) -> bool {
        let keeps = seq > self.last && seq <= self.highest && seq % 2 == self.parity;
        if keeps {
            self.last = seq;
        }
        keeps
    }
}

/// The highest number a folder may claim.
pub fn highest(claimed: i64) -> i64 {
    claimed.clamp(0, SEQ_MAX)
}

/// The next number of a reply that cannot keep its own.
pub fn renumbered(highest: &mut i64) -> i64 {
    *highest = next_odd(*highest);
    *highest
}

/// An inbound row as the ledger keeps it; `seq` is 0 when it needs a new one.
pub fn inbound(row: ForeignIn, chat: Option<&ChatKey>, numbers: &mut Numbers) -> MessageIn {
    let seq = row.seq.filter(|seq| numbers.keeps(*seq)).unwrap_or_default();
    let status = match status(row.status.as_deref(), row.ack) {
        // Its script decides whether it runs, and no script is run here.
        "pending" if row.kind == TASK && has_script(&row.content) => "paused",
        status => status,
    };
    let here = chat.filter(|chat| {
        row.channel_type.as_deref() == Some(chat.channel_type.as_str())
            && row.platform_id.as_deref() == Some(chat.platform_id.as_str())
    });
    MessageIn {
        seq,
        status: status.to_owned(),
        timestamp: parse_time(&row.timestamp).unwrap_or(Timestamp(0)),
        process_after: row.process_after.as_deref().and_then(parse_time),
        tries: row.tries.clamp(0, TRIES_MAX),
        series_id: row.series_id.or_else(|| Some(row.id.clone())),
        account: row.account.or_else(|| here.map(|chat| chat.account.clone())),
        id: row.id,
        kind: row.kind,
        recurrence: row.recurrence,
        trigger: row.trigger,
        platform_id: row.platform_id,
        channel_type: row.channel_type,
        thread_id: row.thread_id,
        content: row.content,
        source_session_id: row.source_session_id,
        on_wake: row.on_wake,
        platform_message_id: row.platform_message_id,
    }
}

/// The claim of a dead runner counts no more; what the runner finished is finished.
fn status(word: Option<&str>, ack: Option<AckStatus>) -> &'static str {
    match (word, ack) {
        (None | Some("pending" | "processing"), Some(AckStatus::Completed)) => "completed",
        (None | Some("pending" | "processing"), Some(AckStatus::Failed)) => "failed",
        (None | Some("pending" | "processing"), Some(AckStatus::Processing) | None) => "pending",
        // A task that was cancelled; NanoClaw 2.0 wrote `completed`.
        (Some("completed" | "cancelled"), _) => "completed",
        (Some("paused"), _) => "paused",
        // No runner ever took a row with another word.
        (Some(_), _) => "failed",
    }
}

/// What of a task will not go on, in a sentence; `None` where all of it does, and for a row that is no task. The row
/// is as [`inbound`] has made it.
pub fn task_loss(row: &MessageIn) -> Option<String> {
    if row.kind != TASK {
        return None;
    }
    let again = match (&row.recurrence, row.status.as_str()) {
        (Some(recurrence), "pending" | "paused") => format!(", and is not repeated (`{recurrence}`)"),
        _ => String::new(),
    };
    match row.status.as_str() {
        "paused" if has_script(&row.content) => Some(format!(
            "is not run{again}: it has a script that decides whether it runs, and scripts are not run yet. It is kept, paused"
        )),
        "paused" => Some(format!("stays paused{again}: it cannot be resumed yet")),
        "pending" if row.recurrence.is_some() => Some(format!("is run once{again}: tasks do not repeat yet")),
        _ => None,
    }
}

/// The outcome that was final before the row came here, and when.
pub fn settled(settled: &ForeignSettled, now: Timestamp) -> (Settled, Timestamp) {
    let outcome = if settled.delivered { Settled::Delivered } else { Settled::Failed };
    (outcome, parse_time(&settled.at).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ForeignIn {
        ForeignIn {
            id: "m".into(),
            seq: Some(2),
            kind: "chat".into(),
            timestamp: "2026-01-15 08:00:00".into(),
            status: Some("pending".into()),
            process_after: Some("2026-01-15T09:00:00.000Z".into()),
            recurrence: None,
            series_id: None,
            tries: -3,
            trigger: true,
            platform_id: Some("c".into()),
            channel_type: Some("x".into()),
            thread_id: None,
            content: "{}".into(),
            source_session_id: None,
            on_wake: false,
            account: None,
            platform_message_id: None,
            ack: None,
        }
    }

    #[test]
    fn both_spellings_and_what_an_older_layout_lacks() {
        let chat = ChatKey::new("x", "work", "c");
        let taken = inbound(row(), Some(&chat), &mut Numbers::inbound(10));
        assert_eq!(
            (taken.timestamp, taken.process_after),
            (Timestamp(1_768_464_000_000), Some(Timestamp(1_768_467_600_000)))
        );
        assert_eq!((taken.series_id.as_deref(), taken.account.as_deref()), (Some("m"), Some("work")));
        assert_eq!((taken.seq, taken.tries), (2, 0));
        let elsewhere = ForeignIn { platform_id: Some("d".into()), timestamp: "soon".into(), ..row() };
        let taken = inbound(elsewhere, Some(&chat), &mut Numbers::inbound(10));
        assert_eq!((taken.account, taken.timestamp), (None, Timestamp(0)));
    }

    #[test]
    fn a_task_goes_on_as_far_as_it_is_said() {
        let (script, none) = (r#"{"prompt":"p","script":"exit 1"}"#, r#"{"prompt":"p","script":null}"#);
        let daily = Some("0 9 * * *");
        for (kind, status, content, recurrence, want, said) in [
            ("task", "pending", none, None, "pending", None),
            (
                "task",
                "pending",
                none,
                daily,
                "pending",
                Some("is run once, and is not repeated (`0 9 * * *`)"),
            ),
            ("task", "pending", script, None, "paused", Some("is not run: it has a script")),
            ("task", "pending", script, daily, "paused", Some("is not run, and is not repeated")),
            ("task", "processing", script, None, "paused", Some("is not run: it has a script")),
            ("task", "paused", none, daily, "paused", Some("stays paused, and is not repeated")),
            ("task", "paused", script, None, "paused", Some("is not run: it has a script")),
            ("task", "completed", script, daily, "completed", None),
            ("task", "cancelled", none, None, "completed", None),
            ("chat", "pending", script, None, "pending", None),
        ] {
            let row = ForeignIn {
                kind: kind.into(),
                status: Some(status.into()),
                content: content.into(),
                recurrence: recurrence.map(Into::into),
                ..row()
            };
            let taken = inbound(row, None, &mut Numbers::inbound(10));
            assert_eq!(taken.status, want, "{kind} {status} {content}");
            let loss = task_loss(&taken);
            assert_eq!(loss.is_some(), said.is_some(), "{kind} {status} {content}: {loss:?}");
            assert!(
                loss.unwrap_or_default().starts_with(said.unwrap_or_default()),
                "{kind} {status} {content}"
            );
        }
    }

    #[test]
    fn numbers_that_cannot_be_kept() {
        let mut even = Numbers::inbound(10);
        let kept = [2, 2, 3, -4, 8, 6, 10, 12].map(|seq| even.keeps(seq));
        assert_eq!(kept, [true, false, false, false, true, false, true, false]);
        let mut odd = Numbers::outbound();
        assert_eq!([-1, 1, 2, 3, i64::MAX].map(|seq| odd.keeps(seq)), [false, true, false, true, false]);
        let mut last = 8;
        assert_eq!([renumbered(&mut last), renumbered(&mut last)], [9, 11]);
        assert_eq!([highest(-1), highest(i64::MAX)], [0, SEQ_MAX]);
    }

    #[test]
    fn words_of_both_tables() {
        use AckStatus::{Completed, Failed, Processing};
        for (word, ack, want) in [
            (None, None, "pending"),
            (Some("pending"), None, "pending"),
            (Some("pending"), Some(Processing), "pending"),
            (Some("pending"), Some(Completed), "completed"),
            (Some("pending"), Some(Failed), "failed"),
            (Some("paused"), Some(Completed), "paused"),
            (Some("completed"), Some(Processing), "completed"),
            (Some("failed"), None, "failed"),
            (Some("dancing"), None, "failed"),
            (Some("cancelled"), None, "completed"),
            (Some("processing"), None, "pending"),
            (Some("processing"), Some(Completed), "completed"),
        ] {
            assert_eq!(status(word, ack), want, "{word:?} {ack:?}");
        }
    }
}
