//! A delivery that becomes several messages: each part that has gone out is told to the runtime, so that the next attempt
//! goes on from there.

use crate::{PluginError, Receipt, Runtime, SentSoFar};

/// One delivery, part by part.
///
/// ```ignore
/// let mut sending = Sending::of(&self.runtime, &message.id, message.sent_so_far, parts.len());
/// for part in parts.iter().skip(sending.parts()) {
///     sending.went(Some(self.post(part).await?)).await;
/// }
/// Ok(sending.receipt())
/// ```
pub struct Sending<'a> {
    runtime: &'a Runtime,
    id: String,
    sent: SentSoFar,
    /// Whether there are several parts: the receipt says enough of a single one.
    many: bool,
}

impl<'a> Sending<'a> {
    /// The delivery of the message with this id, as far as earlier attempts came; it has `count` parts.
    pub fn of(runtime: &'a Runtime, id: &str, sent: Option<SentSoFar>, count: usize) -> Sending<'a> {
        Sending { runtime, id: id.to_owned(), sent: sent.unwrap_or_default(), many: count > 1 }
    }

    /// How many parts have gone out: these are not sent again.
    pub fn parts(&self) -> usize {
        self.sent.parts as usize
    }

    /// The next part has gone out, and became this message; or these, as an album does.
    pub async fn went(&mut self, message_ids: impl IntoIterator<Item = String>) {
        self.sent.parts = self.sent.parts.saturating_add(1);
        self.sent.message_ids.extend(message_ids);
        if self.many {
            self.tell().await;
        }
    }

    /// Keeps a note for the next attempt, and for `Channel::find`.
    pub async fn note(&mut self, note: String) {
        self.sent.note = Some(note);
        self.tell().await;
    }

    /// The first `parts` parts have arrived: `Channel::find` saw them, with these ids.
    pub async fn found(&mut self, parts: u32, message_ids: Vec<String>) {
        if parts > self.sent.parts {
            self.sent.parts = parts;
            self.sent.message_ids = message_ids;
            self.tell().await;
        }
    }

    /// The receipt of the parts that have gone out.
    pub fn receipt(self) -> Receipt {
        Receipt::of(self.sent.message_ids)
    }

    /// A part that cannot be kept may be sent twice, and that is better than not to go on.
    async fn tell(&self) {
        match self.runtime.sent_so_far(&self.id, self.sent.clone()).await {
            Ok(()) => {}
            Err(PluginError::Unsupported { .. }) => tracing::debug!("the runtime keeps no parts"),
            Err(error) => {
                tracing::warn!(reason = error.reason(), "how much of a message went out could not be kept");
            }
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::ScriptedRuntime;

    #[tokio::test]
    async fn the_next_attempt_goes_on_where_the_last_one_broke_off() {
        let runtime = ScriptedRuntime::new();
        let handle = runtime.runtime("main");
        let mut first = Sending::of(&handle, "m", None, 3);
        assert_eq!(first.parts(), 0);
        first.went(Some("a".into())).await;
        first.note("n".into()).await;
        first.went(None).await;
        let told = runtime.sent_so_far();
        assert_eq!(told.len(), 3);
        let (id, so_far) = told[2].clone();
        assert_eq!((id.as_str(), so_far.parts, so_far.note.as_deref()), ("m", 2, Some("n")));
        let mut second = Sending::of(&handle, "m", Some(so_far), 3);
        assert_eq!(second.parts(), 2);
        second.found(1, vec![]).await;
        second.went(Some("c".into())).await;
        assert_eq!(second.receipt(), Receipt::of(["a".to_owned(), "c".to_owned()]));
        assert_eq!(runtime.sent_so_far().len(), 4, "what is found and known is not told again");
    }

    #[tokio::test]
    async fn a_single_part_is_told_by_its_receipt_alone() {
        let runtime = ScriptedRuntime::new();
        let handle = runtime.runtime("main");
        let mut sending = Sending::of(&handle, "m", None, 1);
        sending.went(Some("a".into())).await;
        assert_eq!(runtime.sent_so_far(), []);
        assert_eq!(sending.receipt(), Receipt::of(["a".to_owned()]));
    }
}
