//! The one rule for threads: where a block goes, and which row it answers. Pure.

use crate::batch::Batch;
use vestibule_plugin_api::Timestamp;
use vestibule_session::{Destination, MessageIn, MessageOut, NO_DESTINATION, Routing, format_time};

/// A chat or an agent, without a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The kind of platform; `agent` for an agent.
    pub channel_type: Option<String>,
    /// The chat, or the agent's group.
    pub platform_id: Option<String>,
    /// The login on the channel, where one is known.
    pub account: Option<String>,
}

impl Address {
    /// The address of a destination, without a thread.
    pub fn of_destination(destination: &Destination) -> Address {
        if destination.kind == "agent" {
            let platform_id = destination.agent_group_id.clone();
            return Address { channel_type: Some("agent".to_owned()), platform_id, account: None };
        }
        Address {
            channel_type: destination.channel_type.clone(),
            platform_id: destination.platform_id.clone(),
            account: destination.account.clone(),
        }
    }

    fn is_of(&self, row: &MessageIn) -> bool {
        let same_account = self.account.is_none() || row.account.is_none() || self.account == row.account;
        self.channel_type == row.channel_type && self.platform_id == row.platform_id && same_account
    }
}

/// A block that becomes a reply.
pub struct Draft<'a> {
    /// The id that the reply will have.
    pub id: String,
    /// The reply's text.
    pub text: &'a str,
    /// When the agent wrote it.
    pub now: Timestamp,
}

/// A reply to a destination. It goes to the thread of the batch when the batch is from there, else
/// to the thread of the newest row from there, which `latest` looks up, else to no thread; then it
/// answers the batch.
pub fn to_destination(
    draft: Draft<'_>,
    to: &Destination,
    batch: &Batch,
    latest: impl FnOnce(&Address) -> Option<MessageIn>,
) -> MessageOut {
    let to = Address::of_destination(to);
    if to.is_of(batch.asked()) {
        return draft.answering(batch.asked(), to);
    }
    match latest(&to).filter(|row| to.is_of(row)) {
        Some(row) => draft.answering(&row, to),
        None => draft.written(to, None, batch.rows().first().map(|row| row.id.clone())),
    }
}

/// A reply to where a row came from, whether or not that place has a name; to `home` for a row without an address.
pub fn to_row(draft: Draft<'_>, row: &MessageIn, home: impl FnOnce() -> Routing) -> MessageOut {
    if row.channel_type.is_some() {
        let to = Address {
            channel_type: row.channel_type.clone(),
            platform_id: row.platform_id.clone(),
            account: row.account.clone(),
        };
        return draft.answering(row, to);
    }
    let home = home();
    let to =
        Address { channel_type: home.channel_type, platform_id: home.platform_id, account: home.account };
    draft.written(to, home.thread_id, Some(row.id.clone()))
}

/// A reply to a name that no destination has. The runtime refuses such a reply.
pub fn to_no_destination(draft: Draft<'_>, name: &str, row: &MessageIn) -> MessageOut {
    let to = Address {
        channel_type: Some(NO_DESTINATION.to_owned()),
        platform_id: Some(name.to_owned()),
        account: None,
    };
    draft.written(to, row.thread_id.clone(), Some(row.id.clone()))
}

impl Draft<'_> {
    fn answering(self, row: &MessageIn, to: Address) -> MessageOut {
        let to = Address { account: to.account.or_else(|| row.account.clone()), ..to };
        self.written(to, row.thread_id.clone(), Some(row.id.clone()))
    }

    fn written(self, to: Address, thread_id: Option<String>, in_reply_to: Option<String>) -> MessageOut {
        MessageOut {
            id: self.id,
            seq: 0, // given when it is posted
            in_reply_to,
            timestamp: format_time(self.now),
            deliver_after: None,
            kind: "chat".to_owned(),
            platform_id: to.platform_id,
            channel_type: to.channel_type,
            thread_id,
            content: serde_json::json!({ "text": self.text }).to_string(),
            account: to.account,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::{batch, row};
    use crate::destinations::tests::{agent, chat};

    fn draft() -> Draft<'static> {
        Draft { id: "msg-1".to_owned(), text: "a \"b\"", now: Timestamp(1_768_464_000_000) }
    }

    fn by(account: &str, row: MessageIn) -> MessageIn {
        MessageIn { account: Some(account.to_owned()), ..row }
    }

    #[test]
    fn a_whole_row() {
        let batch = batch(vec![row(2, true, Some("t"))]);
        let reply = to_destination(draft(), &chat("general", "slack:C1", None), &batch, |_| unreachable!());
        let expected = MessageOut {
            id: "msg-1".to_owned(),
            seq: 0,
            in_reply_to: Some("m2".to_owned()),
            timestamp: "2026-01-15T08:00:00.000Z".to_owned(),
            deliver_after: None,
            kind: "chat".to_owned(),
            platform_id: Some("slack:C1".to_owned()),
            channel_type: Some("slack".to_owned()),
            thread_id: Some("t".to_owned()),
            content: r#"{"text":"a \"b\""}"#.to_owned(),
            account: None,
        };
        assert_eq!(reply, expected);
    }

    /// thread, account, in_reply_to
    fn route(reply: &MessageOut) -> (Option<&str>, Option<&str>, Option<&str>) {
        (reply.thread_id.as_deref(), reply.account.as_deref(), reply.in_reply_to.as_deref())
    }

    #[test]
    fn the_thread_rule() {
        let to = |destination: &Destination, rows: Vec<MessageIn>, latest: Option<MessageIn>| {
            to_destination(draft(), destination, &batch(rows), |_| latest)
        };
        let here = chat("here", "slack:C1", None);
        let there = chat("there", "slack:C2", None);
        let old = MessageIn { platform_id: Some("slack:C2".to_owned()), ..row(1, true, Some("old")) };

        // Later context from another thread does not pull the answer away from the thread that asked.
        let rows = vec![row(2, true, Some("t")), row(4, true, Some("t")), row(6, false, Some("u"))];
        assert_eq!(route(&to(&here, rows.clone(), None)), (Some("t"), None, Some("m4")));
        assert_eq!(route(&to(&there, rows.clone(), Some(old.clone()))), (Some("old"), None, Some("m1")));
        assert_eq!(route(&to(&there, rows.clone(), None)), (None, None, Some("m2")));

        // The login of the row is kept; a row by another login says nothing about threads.
        let by_a = vec![by("a", row(2, true, Some("t")))];
        assert_eq!(route(&to(&here, by_a.clone(), None)), (Some("t"), Some("a"), Some("m2")));
        let here_b = chat("here-b", "slack:C1", Some("b"));
        assert_eq!(route(&to(&here_b, by_a, None)), (None, Some("b"), Some("m2")));
        let there_b = chat("there-b", "slack:C2", Some("b"));
        assert_eq!(route(&to(&there_b, rows.clone(), Some(by("a", old)))), (None, Some("b"), Some("m2")));

        let helper = to(&agent("helper", "ag-h"), rows, None);
        assert_eq!(helper.channel_type.as_deref(), Some("agent"));
        assert_eq!(helper.platform_id.as_deref(), Some("ag-h"));
    }

    #[test]
    fn a_row_from_nowhere_is_answered_at_home() {
        let nowhere = MessageIn { channel_type: None, platform_id: None, ..row(2, true, None) };
        let home = || Routing {
            channel_type: Some("slack".to_owned()),
            platform_id: Some("slack:C9".to_owned()),
            thread_id: Some("t".to_owned()),
            account: Some("a".to_owned()),
        };
        let reply = to_row(draft(), &nowhere, home);
        assert_eq!(reply.platform_id.as_deref(), Some("slack:C9"));
        assert_eq!(route(&reply), (Some("t"), Some("a"), Some("m2")));
        let reply = to_row(draft(), &by("b", row(4, true, Some("u"))), || unreachable!());
        assert_eq!(route(&reply), (Some("u"), Some("b"), Some("m4")));
    }
}
