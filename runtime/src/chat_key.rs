//! Which chat: the three parts that only together name one.

use vestibule_plugin_api::Address;

/// A chat of one account of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChatKey {
    /// The kind of platform.
    pub channel_type: String,
    /// The login on it.
    pub account: String,
    /// The chat's id there, byte for byte the adapter's; empty where an event names no chat.
    pub platform_id: String,
}

impl ChatKey {
    /// The chat with these parts.
    pub fn new(
        channel_type: impl Into<String>,
        account: impl Into<String>,
        platform_id: impl Into<String>,
    ) -> ChatKey {
        ChatKey {
            channel_type: channel_type.into(),
            account: account.into(),
            platform_id: platform_id.into(),
        }
    }
}

/// The id of a thread of the chat that is known as `known`, if it begins with another spelling of that chat; `None` when
/// it stays as it is.
pub fn respelled(thread_id: &str, known: &str) -> Option<String> {
    let (chat, rest) = thread_id.split_at_checked(known.len())?;
    (chat != known && chat.eq_ignore_ascii_case(known)).then(|| format!("{known}{rest}"))
}

/// The id of a thread, once the chat `from`, with which it may begin, is called `to`. The thread `57` does not begin with
/// the chat `5`.
pub fn moved_thread(thread_id: &str, from: &str, to: &str) -> String {
    let rest =
        thread_id.strip_prefix(from).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    rest.map_or_else(|| thread_id.to_owned(), |rest| format!("{to}{rest}"))
}

impl From<&Address> for ChatKey {
    /// The chat that an address is in, whatever its thread.
    fn from(at: &Address) -> ChatKey {
        ChatKey::new(at.channel_type.as_str(), at.account.as_str(), at.platform_id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::respelled;

    #[test]
    fn a_thread_begins_as_its_chat_is_spelled() {
        for (thread, known, want) in [
            ("x:ACME:issue:1", "x:acme", Some("x:acme:issue:1")),
            ("x:acme:issue:1", "x:acme", None),
            ("1700000000.1", "x:acme", None),
            ("x:A", "x:acme", None),
            ("x:acm\u{e9}", "x:acme", None),
        ] {
            assert_eq!(respelled(thread, known).as_deref(), want, "{thread}");
        }
    }

    #[test]
    fn a_thread_moves_with_the_chat_that_it_begins_with() {
        for (thread, from, to, want) in [
            ("x:1:7", "x:1", "x:100", "x:100:7"),
            ("x:1", "x:1", "x:100", "x:100"),
            ("x:17", "x:1", "x:100", "x:17"),
            ("else", "x:1", "x:100", "else"),
        ] {
            assert_eq!(super::moved_thread(thread, from, to), want);
        }
    }
}
