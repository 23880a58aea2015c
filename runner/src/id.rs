//! The ids of replies.

/// A new id of a reply. Later ids sort after earlier ones.
#[allow(clippy::disallowed_methods, reason = "this is the mint")]
pub fn message_id() -> String {
    format!("msg-{}", uuid::Uuid::now_v7())
}
