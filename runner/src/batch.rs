//! Decides which pending rows are answered together. Pure.
//!
//! The oldest row that wakes the agent decides the conversation: channel, login, chat and thread.
//! With it go the other waking rows of the same conversation, and the context rows of the same chat,
//! whatever their thread. Rows of other conversations wait for their own turn, so that an answer
//! never goes to a chat that did not ask.

use crate::format;
use std::ops::ControlFlow;
use vestibule_session::{MessageIn, Waiting, is_note};

/// Rows that are answered together. At least one of them wakes the agent.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    rows: Vec<MessageIn>,
    /// Context that came so long before the question that the prompt has no room for it.
    passed_over: Vec<String>,
    asked: usize,
}

/// What NanoClaw 2.3 copies from another session of the same agent: context, and no person's command.
const ECHO: &str = "session-echo";
/// How many rows after the deciding one are looked at: in a session of many chats all others may be another chat's.
const LOOKED_AT_MAX: usize = 500;

/// Picks the next batch out of pending rows, which its caller shows in the order of `seq`.
///
/// At most `max` rows: the deciding row, before it as much of the newest context as there is room
/// for, and after it whatever still fits. What comes later stays pending. Context older than that is
/// acknowledged with the batch without being shown: kept pending it would crowd out newer context at
/// every following turn. Notes of the runtime are never passed over, however much context came after them: those for
/// which there is no room wait for the next turn.
pub struct Picker {
    max: usize,
    /// Context, until the deciding row has come; then the rows that go together.
    rows: Vec<Waiting>,
    deciding: Option<Waiting>,
    looked_at: usize,
    passed_over: Vec<String>,
}

/// A batch before its rows are read: their ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// The rows that the prompt shows, oldest first.
    pub shown: Vec<String>,
    /// The rows that are settled without being shown.
    pub passed_over: Vec<String>,
}

impl Picker {
    /// Picks at most `max` rows, and one at least.
    pub fn new(max: usize) -> Picker {
        Picker { max: max.max(1), rows: vec![], deciding: None, looked_at: 0, passed_over: vec![] }
    }

    /// Takes up the next row that is due. After a break no other can belong to the batch.
    pub fn hear(&mut self, row: Waiting) -> ControlFlow<()> {
        if row.kind == "system" {
            return ControlFlow::Continue(());
        }
        match &self.deciding {
            None if row.trigger => self.decide(row),
            None => self.rows.push(row),
            Some(deciding) => {
                self.looked_at += 1;
                if belongs(&row, deciding) {
                    self.rows.push(row);
                }
            }
        }
        let is_full = self.rows.len() >= self.max || self.looked_at >= LOOKED_AT_MAX;
        if self.deciding.is_some() && is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn decide(&mut self, row: Waiting) {
        self.rows.retain(|context| belongs(context, &row));
        let mut too_many = (self.rows.len() + 1).saturating_sub(self.max);
        for context in std::mem::take(&mut self.rows) {
            if too_many > 0 && !is_note(&context.id) {
                too_many -= 1;
                self.passed_over.push(context.id);
            } else {
                self.rows.push(context);
            }
        }
        self.rows.truncate(self.max - 1);
        self.rows.push(row.clone());
        self.deciding = Some(row);
    }

    /// The rows that go together; `None` when no row wakes the agent.
    pub fn picked(self) -> Option<Picked> {
        self.deciding?;
        let shown = self.rows.into_iter().map(|row| row.id).collect();
        Some(Picked { shown, passed_over: self.passed_over })
    }
}

fn belongs(row: &Waiting, deciding: &Waiting) -> bool {
    row.channel_type == deciding.channel_type
        && row.account == deciding.account
        && row.platform_id == deciding.platform_id
        && (!row.trigger || row.thread_id == deciding.thread_id)
}

impl Batch {
    /// The batch of these rows, as they were picked; `None` when none of them wakes the agent.
    pub fn of(rows: Vec<MessageIn>, passed_over: Vec<String>) -> Option<Batch> {
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

    /// Takes out the rows that ask for a new start; `None` is left when no other row wakes the agent.
    /// Only rows that wake the agent count: context may come from people who may not command.
    pub fn split_clears(self) -> (Vec<MessageIn>, Option<Batch>) {
        let (clears, rows) = self.rows.into_iter().partition(is_clear);
        (clears, Batch::of(rows, self.passed_over))
    }

    /// Takes out the tasks with a script that says whether they run: this runner runs none, so they do not.
    pub fn split_gated(self) -> (Vec<MessageIn>, Option<Batch>) {
        let (gated, rows) = self.rows.into_iter().partition(is_gated);
        (gated, Batch::of(rows, self.passed_over))
    }
}

fn is_gated(row: &MessageIn) -> bool {
    row.kind == "task" && vestibule_session::has_script(&row.content)
}

fn is_clear(row: &MessageIn) -> bool {
    row.trigger
        && row.channel_type.as_deref() != Some(ECHO)
        && matches!(row.kind.as_str(), "chat" | "chat-sdk")
        && format::text(&row.content).split_whitespace().next().is_some_and(is_clear_command)
}

/// Whether a message's first word is the command, in any case. One that names a bot, as `/clear@bot`, is another bot's:
/// the adapter, which knows how its own is called, has taken that name away.
fn is_clear_command(word: &str) -> bool {
    word.eq_ignore_ascii_case("/clear")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use vestibule_plugin_api::Timestamp;

    /// A row from the chat `slack:C1`.
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

    /// The same row before its content is read.
    fn waiting(seq: i64, trigger: bool, thread: Option<&str>) -> Waiting {
        let row = row(seq, trigger, thread);
        Waiting {
            id: row.id,
            seq,
            kind: row.kind,
            process_after: None,
            trigger,
            on_wake: false,
            channel_type: row.channel_type,
            account: None,
            platform_id: row.platform_id,
            thread_id: row.thread_id,
        }
    }

    fn in_chat(chat: &str, row: Waiting) -> Waiting {
        Waiting { platform_id: Some(chat.to_owned()), ..row }
    }

    fn with(row: Waiting, kind: &str, account: Option<&str>) -> Waiting {
        Waiting { kind: kind.to_owned(), account: account.map(str::to_owned), ..row }
    }

    fn pick(pending: Vec<Waiting>, max: usize) -> (Option<Picked>, usize) {
        let (mut picker, mut heard) = (Picker::new(max), 0);
        for row in pending {
            heard += 1;
            if picker.hear(row).is_break() {
                break;
            }
        }
        (picker.picked(), heard)
    }

    #[test]
    fn a_task_whose_script_is_not_run_is_not_asked() {
        let task = |seq: i64, content: &str| MessageIn {
            kind: "task".to_owned(),
            content: content.to_owned(),
            ..row(seq, true, None)
        };
        let gated = task(2, r#"{"prompt":"go","script":"exit 1"}"#);
        let free = task(4, r#"{"prompt":"go","script":null}"#);
        let said = MessageIn { content: r#"{"text":"hi","script":"x"}"#.to_owned(), ..row(6, true, None) };
        let (out, rest) = batch(vec![gated.clone(), free.clone(), said.clone()]).split_gated();
        assert_eq!((out, rest.map(|rest| rest.rows)), (vec![gated.clone()], Some(vec![free, said])));
        let (out, rest) = batch(vec![gated.clone(), row(4, false, None)]).split_gated();
        assert_eq!((out, rest), (vec![gated], None));
    }

    #[test]
    fn a_copy_from_another_session_is_no_command() {
        let clear = MessageIn { content: r#"{"text":"/clear"}"#.to_owned(), ..row(2, true, None) };
        assert!(is_clear(&clear));
        assert!(!is_clear(&MessageIn { channel_type: Some(ECHO.to_owned()), platform_id: None, ..clear }));
    }

    #[test]
    fn what_goes_together() {
        let (t, c) = (true, false);
        let row = waiting;
        let many = |n: i64| (1..=n).map(|i| row(2 * i, c, None)).collect::<Vec<_>>();
        type Case = (&'static str, Vec<Waiting>, usize, &'static [i64], &'static [i64]);
        let note = |seq| Waiting { id: format!("undelivered-{seq}"), ..row(seq, c, None) };
        // name, pending, max, shown (a note with a minus), passed over
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
            (
                "a note is not passed over",
                [vec![note(2)], many(3)[1..].to_vec(), vec![row(8, t, None)]].concat(),
                3,
                &[-2, 6, 8],
                &[4],
            ),
            (
                "notes without room wait",
                vec![note(2), row(4, c, None), note(6), note(8), row(10, t, None)],
                3,
                &[-2, -6, 10],
                &[4],
            ),
            ("room for one", vec![row(2, c, None), row(4, t, None)], 1, &[4], &[2]),
            ("no room is room for one", vec![row(2, t, None), row(4, t, None)], 0, &[2], &[]),
        ];
        for (name, pending, max, shown, passed_over) in cases {
            let (picked, _) = pick(pending, max);
            let id = |seq: &i64| if *seq < 0 { note(-seq).id } else { format!("m{seq}") };
            let ids = |seqs: &[i64]| seqs.iter().map(id).collect::<Vec<_>>();
            let want = Picked { shown: ids(shown), passed_over: ids(passed_over) };
            assert_eq!(picked.unwrap_or_default(), want, "{name}");
        }
    }

    #[test]
    fn a_backlog_is_not_read_to_its_end() {
        let questions: Vec<Waiting> = (1..2_000).map(|i| waiting(2 * i, true, None)).collect();
        let (picked, heard) = pick(questions.clone(), 10);
        assert_eq!((picked.unwrap().shown.len(), heard), (10, 10));
        let chats = questions.into_iter().map(|row| in_chat(&row.id.clone(), row)).collect();
        let (picked, heard) = pick(chats, 10);
        assert_eq!((picked.unwrap().shown.len(), heard), (1, LOOKED_AT_MAX + 1));
    }

    #[test]
    fn what_asks_for_a_new_start() {
        for (text, want) in [
            ("/clear", true),
            (" \n/CLEAR please", true),
            ("/clear@bot", false),
            ("/clear\tnow", true),
            ("/clearance please", false),
            ("/clear-up the desk", false),
            ("/clear, please", false),
            ("/cleared@bot", false),
            ("what is /clear?", false),
            ("clear", false),
            ("", false),
        ] {
            let content = serde_json::json!({ "text": text }).to_string();
            assert_eq!(is_clear(&MessageIn { content, ..row(2, true, None) }), want, "{text}");
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
