//! Pure. Which pending rows are answered together.
//!
//! The oldest row that wakes the agent decides the conversation: channel, login, chat and thread.
//! With it go the other waking rows of the same conversation, and the context rows of the same chat,
//! whatever their thread. Rows of other conversations wait for their own turn, so that an answer
//! never goes to a chat that did not ask.

use crate::format;
use vestibule_session::MessageIn;

/// Rows answered together. Not empty, and at least one of them wakes the agent.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    rows: Vec<MessageIn>,
    /// Context that came so long before the question that the prompt has no room for it.
    passed_over: Vec<String>,
    asked: usize,
}

/// The next batch out of `pending`, which is in order of `seq`; `None` when nothing wakes the agent.
///
/// At most `max` rows: the deciding row, before it as much of the newest context as there is room
/// for, and after it whatever still fits. What comes later stays pending. Context older than that is
/// acknowledged with the batch without being shown: kept pending it would crowd out newer context at
/// every following turn.
pub fn next(pending: Vec<MessageIn>, max: usize) -> Option<Batch> {
    let usable = |row: &MessageIn| row.kind != "system";
    let deciding = pending.iter().find(|row| usable(row) && row.trigger)?.clone();
    let mut rows: Vec<MessageIn> =
        pending.into_iter().filter(|row| usable(row) && belongs(row, &deciding)).collect();
    let at = rows.iter().position(|row| row.id == deciding.id)?;
    let start = (at + 1).saturating_sub(max.max(1));
    let passed_over = rows.drain(..start).map(|row| row.id).collect();
    rows.truncate(max.max(1));
    Batch::of(rows, passed_over)
}

fn belongs(row: &MessageIn, deciding: &MessageIn) -> bool {
    row.channel_type == deciding.channel_type
        && row.account == deciding.account
        && row.platform_id == deciding.platform_id
        && (!row.trigger || row.thread_id == deciding.thread_id)
}

impl Batch {
    fn of(rows: Vec<MessageIn>, passed_over: Vec<String>) -> Option<Batch> {
        let asked = rows.iter().rposition(|row| row.trigger)?;
        Some(Batch { rows, passed_over, asked })
    }

    /// The rows to show, oldest first.
    pub fn rows(&self) -> &[MessageIn] {
        &self.rows
    }

    /// The newest row that wakes the agent: it stands for the conversation.
    pub fn asked(&self) -> &MessageIn {
        &self.rows[self.asked]
    }

    /// Every row that this batch settles, shown or not.
    pub fn ids(&self) -> Vec<String> {
        self.rows.iter().map(|row| &row.id).chain(&self.passed_over).cloned().collect()
    }

    /// Takes out the rows that ask for a new start; `None` is left when nobody asked anything else.
    /// Only rows that wake the agent count: context may come from people who may not command.
    pub fn split_clears(self) -> (Vec<MessageIn>, Option<Batch>) {
        let (clears, rows) = self.rows.into_iter().partition(is_clear);
        (clears, Batch::of(rows, self.passed_over))
    }
}

fn is_clear(row: &MessageIn) -> bool {
    row.trigger
        && matches!(row.kind.as_str(), "chat" | "chat-sdk")
        && format::text(&row.content).trim().to_lowercase().starts_with("/clear")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use vestibule_plugin_api::Timestamp;

    /// A row of the chat `slack:C1`.
    pub fn row(seq: i64, trigger: bool, thread: Option<&str>) -> MessageIn {
        MessageIn {
            id: format!("m{seq}"),
            seq,
            kind: "chat".to_owned(),
            timestamp: Timestamp(0),
            status: "pending".to_owned(),
            process_after: None,
            recurrence: None,
            series_id: None,
            tries: 0,
            trigger,
            platform_id: Some("slack:C1".to_owned()),
            channel_type: Some("slack".to_owned()),
            thread_id: thread.map(str::to_owned),
            content: "{}".to_owned(),
            source_session_id: None,
            on_wake: false,
            account: None,
            platform_message_id: None,
        }
    }

    /// A batch of these rows, whatever conversations they are from.
    pub fn batch(rows: Vec<MessageIn>) -> Batch {
        Batch::of(rows, Vec::new()).unwrap()
    }

    fn in_chat(chat: &str, row: MessageIn) -> MessageIn {
        MessageIn { platform_id: Some(chat.to_owned()), ..row }
    }

    fn with(row: MessageIn, kind: &str, account: Option<&str>) -> MessageIn {
        MessageIn { kind: kind.to_owned(), account: account.map(str::to_owned), ..row }
    }

    #[test]
    fn what_goes_together() {
        let (t, c) = (true, false);
        let many = |n: i64| (1..=n).map(|i| row(2 * i, c, None)).collect::<Vec<_>>();
        type Case = (&'static str, Vec<MessageIn>, usize, &'static [i64], &'static [i64]);
        // name, pending, max, shown, passed over
        let cases: Vec<Case> = vec![
            ("nothing", vec![], 10, &[], &[]),
            ("context alone waits", many(3), 10, &[], &[]),
            ("a question", vec![row(2, t, None)], 10, &[2], &[]),
            ("two questions", vec![row(2, t, None), row(4, t, None)], 10, &[2, 4], &[]),
            ("another thread waits", vec![row(2, t, Some("a")), row(4, t, Some("b"))], 10, &[2], &[]),
            ("context of any thread", vec![row(2, c, Some("b")), row(4, t, Some("a"))], 10, &[2, 4], &[]),
            (
                "another chat waits, with its context",
                vec![in_chat("D", row(2, c, None)), row(4, t, None), in_chat("D", row(6, t, None))],
                10,
                &[4],
                &[],
            ),
            (
                "another login waits",
                vec![with(row(2, t, None), "chat", Some("a")), with(row(4, t, None), "chat", Some("b"))],
                10,
                &[2],
                &[],
            ),
            ("system rows are tools'", vec![with(row(2, t, None), "system", None)], 10, &[], &[]),
            (
                "room for the newest context",
                [many(4), vec![row(10, t, None), row(12, t, None)]].concat(),
                3,
                &[6, 8, 10],
                &[2, 4],
            ),
            (
                "the rest stays pending",
                vec![row(2, t, None), row(4, t, None), row(6, c, None)],
                2,
                &[2, 4],
                &[],
            ),
            ("room for one", vec![row(2, c, None), row(4, t, None)], 1, &[4], &[2]),
        ];
        for (name, pending, max, shown, passed_over) in cases {
            let batch = next(pending, max);
            let ids = |seqs: &[i64]| seqs.iter().map(|seq| format!("m{seq}")).collect::<Vec<_>>();
            let found =
                batch.as_ref().map(|b| b.rows.iter().map(|r| r.id.clone()).collect()).unwrap_or(vec![]);
            assert_eq!(found, ids(shown), "{name}");
            assert_eq!(batch.map(|b| b.passed_over).unwrap_or_default(), ids(passed_over), "{name}");
        }
    }

    #[test]
    fn clears_are_taken_out() {
        let says =
            |row: MessageIn, text: &str| MessageIn { content: format!(r#"{{"text":"{text}"}}"#), ..row };
        let rows = vec![
            says(row(2, false, None), "/clear"),
            says(row(4, true, None), " /CLEAR please"),
            says(row(6, true, None), "what is /clear?"),
        ];
        let (clears, rest) = batch(rows.clone()).split_clears();
        assert_eq!(clears, rows[1..2]);
        assert_eq!(rest.unwrap().asked(), &rows[2]);
        let (_, rest) = batch(rows[..2].to_vec()).split_clears();
        assert_eq!(rest, None);
    }
}
