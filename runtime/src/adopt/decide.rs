//! What becomes of a foreign row. Pure. Every word of it is untrusted.

use crate::chat_key::ChatKey;
use crate::clock::Timestamp;
use crate::ledger::{AdoptedRow, Settlement};
use vestibule_session::{
    AckStatus, ForeignIn, ForeignSettled, MessageIn, Settled, has_prompt, has_script, next_odd, parse_time,
    words,
};

/// The kind of a row that is no message: what the agent is to do at a time.
pub const TASK: &str = "task";
/// The kind of a row of `messages_out` that is no reply.
const TASK_LOG: &str = "task_log";
/// Why a task is failed that does not say what to do: an agent would be asked nothing.
const NO_PROMPT: &str = "its content is not JSON with a `prompt`, or was too long";
/// Why a reply failed whose program has not said so.
const FAILED_BEFORE: &str = "it had failed before its session was taken over";
/// The words for rows that may be followed by the next of their series. A series that was cancelled has ended, and a row
/// with a word that NanoClaw does not know is never repeated.
const GOES_ON: [&str; 5] = ["pending", "processing", "paused", "completed", "failed"];
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

/// An inbound row as the ledger keeps it.
pub struct Taken {
    /// The row; its `seq` is 0 when it needs a new one.
    pub row: MessageIn,
    /// Why it is failed here; it had not failed before.
    pub failure: Option<&'static str>,
}

/// What becomes of an inbound row.
pub fn inbound(row: ForeignIn, chat: Option<&ChatKey>, numbers: &mut Numbers) -> Taken {
    let seq = row.seq.filter(|seq| numbers.keeps(*seq)).unwrap_or_default();
    let (status, failure) = match status(row.status.as_deref(), row.ack) {
        // Its script decides whether it runs, and no script is run here.
        "pending" if row.kind == TASK && has_script(&row.content) => ("paused", None),
        "pending" if row.kind == TASK && !has_prompt(&row.content) => ("failed", Some(NO_PROMPT)),
        status => (status, None),
    };
    let here = chat.filter(|chat| {
        row.channel_type.as_deref() == Some(chat.channel_type.as_str())
            && row.platform_id.as_deref() == Some(chat.platform_id.as_str())
    });
    let goes_on = row.status.as_deref().is_none_or(|word| GOES_ON.contains(&word));
    let row = MessageIn {
        seq,
        status: status.to_owned(),
        timestamp: parse_time(&row.timestamp).unwrap_or(Timestamp(0)),
        process_after: row.process_after.as_deref().and_then(parse_time),
        tries: row.tries.clamp(0, TRIES_MAX),
        series_id: row.series_id.or_else(|| Some(row.id.clone())),
        account: row.account.or_else(|| here.map(|chat| chat.account.clone())),
        id: row.id,
        kind: row.kind,
        recurrence: row.recurrence.filter(|recurrence| goes_on && !recurrence.trim().is_empty()),
        trigger: row.trigger,
        platform_id: row.platform_id,
        channel_type: row.channel_type,
        thread_id: row.thread_id,
        content: row.content,
        source_session_id: row.source_session_id,
        on_wake: row.on_wake,
        platform_message_id: row.platform_message_id,
    };
    Taken { row, failure }
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

/// What of a row will not go on, in a sentence; `None` where all of it does. The row is as [`inbound`] has made it; of a
/// series it is the newest. NanoClaw repeats messages as it does tasks, and one that has failed as one that has run.
pub fn loss(row: &AdoptedRow) -> Option<String> {
    let is_task = row.kind == TASK;
    let again = match &row.recurrence {
        Some(recurrence) => format!(", and is not repeated (`{recurrence}`)"),
        None => String::new(),
    };
    let (what, why) = match (row.status.as_str(), &row.failure) {
        ("paused", _) if is_task && has_script(&row.content) => (
            "is not run",
            "it has a script that decides whether it runs, and scripts are not run yet. It is kept, paused",
        ),
        ("paused", _) if is_task => ("stays paused", "it cannot be resumed yet"),
        ("failed", Some(why)) => ("is not run", why.as_str()),
        _ if row.recurrence.is_none() => return None,
        ("paused", _) => ("stays paused", "it cannot be resumed yet"),
        ("pending", _) if is_task => ("is run once", "nothing repeats yet"),
        ("pending", _) => ("is answered once", "nothing repeats yet"),
        ("completed", _) if is_task => ("has run", "nothing repeats yet"),
        ("completed", _) => ("was answered", "nothing repeats yet"),
        _ => ("has failed", "nothing repeats yet"),
    };
    Some(format!("{what}{again}: {why}"))
}

/// Whether a row of `messages_out` is a reply: NanoClaw's runners leave the last words of a task's run there, too, for a
/// log.
pub fn is_reply(kind: &str) -> bool {
    kind != TASK_LOG
}

/// What was final of a reply before it came here.
pub fn settled(settled: &ForeignSettled, now: Timestamp) -> Settlement {
    Settlement {
        outcome: if settled.delivered { Settled::Delivered } else { Settled::Failed },
        platform_message_id: settled.platform_message_id.clone(),
        at: parse_time(&settled.at).unwrap_or(now),
        why: (!settled.delivered).then(|| {
            let said = settled.reason.as_deref().filter(|reason| !reason.trim().is_empty());
            words::reason(said.unwrap_or(FAILED_BEFORE))
        }),
    }
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
        let taken = inbound(row(), Some(&chat), &mut Numbers::inbound(10)).row;
        assert_eq!(
            (taken.timestamp, taken.process_after),
            (Timestamp(1_768_464_000_000), Some(Timestamp(1_768_467_600_000)))
        );
        assert_eq!((taken.series_id.as_deref(), taken.account.as_deref()), (Some("m"), Some("work")));
        assert_eq!((taken.seq, taken.tries), (2, 0));
        let elsewhere = ForeignIn { platform_id: Some("d".into()), timestamp: "soon".into(), ..row() };
        let taken = inbound(elsewhere, Some(&chat), &mut Numbers::inbound(10)).row;
        assert_eq!((taken.account, taken.timestamp), (None, Timestamp(0)));
    }

    #[test]
    fn a_task_goes_on_as_far_as_it_is_said() {
        let (script, none) = (r#"{"prompt":"p","script":"exit 1"}"#, r#"{"prompt":"p","script":null}"#);
        let blank = r#"{"prompt":"p","script":"  "}"#;
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
            ("task", "pending", none, Some(" "), "pending", None),
            ("task", "pending", script, None, "paused", Some("is not run: it has a script")),
            ("task", "pending", script, daily, "paused", Some("is not run, and is not repeated")),
            ("task", "pending", blank, None, "paused", Some("is not run: it has a script")),
            ("task", "processing", script, None, "paused", Some("is not run: it has a script")),
            ("task", "paused", none, daily, "paused", Some("stays paused, and is not repeated")),
            ("task", "paused", script, None, "paused", Some("is not run: it has a script")),
            ("task", "paused", "broken", None, "paused", Some("stays paused: it cannot be resumed yet")),
            ("task", "pending", "broken", None, "failed", Some("is not run: its content is not JSON")),
            ("task", "pending", r#"{"text":"too long"}"#, None, "failed", Some("is not run: its content")),
            (
                "task",
                "pending",
                "broken",
                daily,
                "failed",
                Some("is not run, and is not repeated (`0 9 * * *`): its"),
            ),
            ("task", "failed", "broken", None, "failed", None),
            ("task", "failed", none, daily, "failed", Some("has failed, and is not repeated (`0 9 * * *`)")),
            ("task", "failed", none, None, "failed", None),
            (
                "task",
                "completed",
                script,
                daily,
                "completed",
                Some("has run, and is not repeated (`0 9 * * *`)"),
            ),
            ("task", "completed", script, None, "completed", None),
            ("task", "cancelled", none, None, "completed", None),
            ("task", "cancelled", none, daily, "completed", None),
            ("task", "dancing", none, daily, "failed", None),
            ("chat", "pending", script, None, "pending", None),
            ("chat", "pending", "broken", None, "pending", None),
            (
                "chat",
                "pending",
                none,
                daily,
                "pending",
                Some("is answered once, and is not repeated (`0 9 * * *`)"),
            ),
            ("chat", "completed", none, daily, "completed", Some("was answered, and is not repeated")),
            ("chat", "paused", none, daily, "paused", Some("stays paused, and is not repeated")),
        ] {
            let row = ForeignIn {
                kind: kind.into(),
                status: Some(status.into()),
                content: content.into(),
                recurrence: recurrence.map(Into::into),
                ..row()
            };
            let taken = inbound(row, None, &mut Numbers::inbound(10));
            assert_eq!(taken.row.status, want, "{kind} {status} {content}");
            let loss = loss(&AdoptedRow::of(&taken.row, taken.failure));
            assert_eq!(loss.is_some(), said.is_some(), "{kind} {status} {content}: {loss:?}");
            assert!(
                loss.as_deref().unwrap_or_default().starts_with(said.unwrap_or_default()),
                "{kind} {status} {content}: {loss:?}"
            );
        }
    }

    #[test]
    fn what_was_final_stays_so_with_its_reason() {
        for (delivered, reason, want) in [
            (true, None, None),
            (true, Some("policy"), None),
            (false, Some("not_a_member"), Some("not_a_member")),
            (false, Some("two\nlines\u{1b}[2J"), Some("two lines\u{fffd}[2J")),
            (false, Some(" "), Some(FAILED_BEFORE)),
            (false, None, Some(FAILED_BEFORE)),
        ] {
            let said = ForeignSettled {
                delivered,
                platform_message_id: Some("p".into()),
                at: "2026-01-15 08:00:00".into(),
                reason: reason.map(Into::into),
            };
            let settled = settled(&said, Timestamp(1));
            assert_eq!(settled.outcome == Settled::Delivered, delivered);
            assert_eq!(
                (settled.why.as_deref(), settled.at),
                (want, Timestamp(1_768_464_000_000)),
                "{reason:?}"
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
