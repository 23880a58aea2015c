//! One attempt at one delivery: its channel or module is called, with what that can show.

use super::effects::Answer;
use super::operation::Operation;
use super::outgoing;
use super::{action, decide, forward, review};
use crate::attachments::StoredFile;
use crate::context::Context;
use crate::db::{ReadTxn, WriteTxn};
use crate::error::Error;
use crate::ledger::{self, Delivery, Direction, SentMessage};
use crate::observer::Answer as Answered;
use crate::plugins::{Allowance, CallError, Link};
use crate::questions;
use sha2::{Digest, Sha256};
use std::sync::atomic::Ordering;
use vestibule_plugin_api::{
    ACTION, Capability, Content, Manifest, OutboundMessage, PluginError, PluginKind, Receipt, SentSoFar,
};
use vestibule_session::crash;

/// How a delivery succeeded.
pub enum Sent {
    /// Its platform has it.
    Out(Receipt),
    /// It is for another agent, and the module answered this.
    Inside(Answer),
    /// An agent asked for it, and the module answered this.
    Done(Answer),
}

/// Makes one attempt.
///
/// # Errors
/// It has not arrived, or its outcome is unknown.
pub async fn send(context: &Context, delivery: &Delivery) -> std::result::Result<Sent, CallError> {
    if delivery.address.channel_type.as_str() == ACTION {
        return act(context, delivery).await;
    }
    let reviewed = review::reviewed(context, delivery).await?;
    let delivery = reviewed.as_ref().unwrap_or(delivery);
    let address = &delivery.address;
    let link = context.plugins.registry.live(address.channel_type.as_str(), address.account.as_str());
    let Some(link) = link else { return Err(CallError::NotThere) };
    if link.manifest.kind == PluginKind::Module {
        return Ok(Sent::Inside(attempt(forward::ask(context, &link, delivery)).await?));
    }
    let files = files(context, delivery).await?;
    // To do the same to a message once more changes nothing: that is not looked up.
    if delivery.look_up && decide::operation_of(&delivery.content).is_none() {
        // A lookup that fails says nothing about the message: it stays in doubt.
        let (message, _) = message(context, &link, delivery, files.clone()).await?;
        let found = link.find(&delivery.session_id, &digest(&message), message).await;
        if let Some(receipt) = found.map_err(|error| match error {
            CallError::NotThere => CallError::NotThere,
            error => CallError::Plugin(PluginError::in_doubt(error.to_string())),
        })? {
            return Ok(Sent::Out(receipt));
        }
        let again = delivery.clone();
        let recorded = context.central.write(move |db| ledger::may_double(db, &again)).await;
        recorded.map_err(|error| CallError::Plugin(PluginError::in_doubt(error.to_string())))?;
    }
    let (mut message, blobs) = message(context, &link, delivery, files).await?;
    let of = digest(&message);
    let _allowance = load(context, &link, &mut message, blobs).await?;
    let seen = context.observer.get().map(|observer| (observer, message.clone()));
    seen.iter().for_each(|(observer, message)| observer.hands_over(message));
    let answer = attempt(link.deliver(&delivery.session_id, &of, message)).await;
    seen.iter().for_each(|(observer, message)| match &answer {
        Ok(receipt) => observer.is_answered(message, Answered::Delivered(receipt)),
        Err(CallError::Plugin(error)) => observer.is_answered(message, Answered::Failed(error)),
        Err(error) => observer.is_answered(message, Answered::Lost(&error.to_string())),
    });
    answer.map(Sent::Out)
}

/// The one call of an attempt.
async fn attempt<T>(call: impl Future<Output = T>) -> T {
    crash::point("delivery: `sending` is on record, nobody was called");
    let outcome = call.await;
    crash::point("delivery: the platform has it, nothing is on record");
    outcome
}

/// Has a module do what an agent asks for.
async fn act(context: &Context, delivery: &Delivery) -> std::result::Result<Sent, CallError> {
    let Some(link) = context.plugins.registry.of(&delivery.address) else {
        let complete = context.plugins.registry.complete.load(Ordering::Acquire);
        let nobody = || CallError::Plugin(PluginError::refused("no module takes this action"));
        return Err(if complete { nobody() } else { CallError::NotThere });
    };
    Ok(Sent::Done(attempt(action::ask(context, &link, delivery)).await?))
}

/// Reads the files of a message, when as much more may be on its way to its channel as they are.
async fn load(
    context: &Context,
    link: &Link,
    message: &mut OutboundMessage,
    blobs: Vec<String>,
) -> std::result::Result<Option<Allowance>, CallError> {
    if blobs.is_empty() {
        return Ok(None);
    }
    let bytes = message.attachments.iter().filter_map(|file| file.size_bytes).sum();
    let allowance = tokio::select! {
        allowance = link.on_the_way.hand_over(bytes) => allowance?,
        // The channel was not called: the delivery waits for the next start.
        () = context.stopping() => return Err(CallError::NotThere),
    };
    let store = context.attachments.clone();
    let read = move || blobs.iter().map(|blob| store.read(blob)).collect::<Result<Vec<_>, Error>>();
    let files = tokio::task::spawn_blocking(read).await.unwrap_or(Err(Error::Stopping));
    outgoing::give(message, files.map_err(|error| CallError::Plugin(PluginError::retry(error.to_string())))?);
    Ok(Some(allowance))
}

/// The message as this channel can show it, and the blobs of its files.
async fn message(
    context: &Context,
    link: &Link,
    delivery: &Delivery,
    files: Vec<StoredFile>,
) -> std::result::Result<(OutboundMessage, Vec<String>), CallError> {
    let carried =
        link.manifest.can(Capability::Attachments).then(|| link.manifest.limit(|limits| &limits.post));
    let (mut message, blobs) = outgoing::message(delivery, files, carried.as_ref())?;
    let buttons =
        link.manifest.can(Capability::Questions).then(|| link.manifest.limit(|limits| &limits.question));
    let subject = message.subject.take_if(|_| !link.manifest.can(Capability::Subjects));
    let above = subject.map_or_else(String::new, |subject| format!("**{subject}**\n\n"));
    if let Some(asked) = decide::question_of(&delivery.content) {
        let with_buttons = buttons.is_some_and(|limit| asked.fits(&limit, &above));
        let (session_id, id) = (delivery.session_id.clone(), delivery.message_out_id.clone());
        let shown = move |db: &WriteTxn| questions::show(db, &session_id, &id, with_buttons);
        let asked = context.central.write(shown).await;
        let asked = asked.map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))?;
        message.content = asked.unwrap_or(message.content);
    }
    if let (true, Some(card)) = (link.manifest.can(Capability::Cards), decide::card_of(&delivery.content)) {
        message.content = Content::Card(card);
    }
    if let Some(operation) = decide::operation_of(&delivery.content) {
        let target = target(context, delivery, &operation).await?;
        operate(&link.manifest, &mut message, operation, target)?;
    }
    if let (false, Content::Text { text } | Content::Question { question: text, .. }) =
        (above.is_empty(), &mut message.content)
    {
        *text = format!("{above}{text}").trim_end().to_owned();
    }
    message.sent_so_far = sent_so_far(context, delivery, &digest(&message)).await?;
    Ok((message, blobs))
}

/// Names what a channel cuts into parts: where it goes and all that it says.
fn digest(message: &OutboundMessage) -> String {
    let files: Vec<_> = message.attachments.iter().map(|file| (&file.name, file.size_bytes)).collect();
    let OutboundMessage { address, content, subject, metadata, .. } = message;
    let said = serde_json::to_vec(&(address, content, subject, metadata, files)).unwrap_or_default();
    Sha256::digest(said).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How much an earlier attempt has sent of this message. What was sent of another one, such as the words that a module
/// put in its place, says nothing: then it goes out from the beginning, and is on record as a possible duplicate.
async fn sent_so_far(
    context: &Context,
    delivery: &Delivery,
    of: &str,
) -> std::result::Result<Option<SentSoFar>, CallError> {
    let again = |error: Error| CallError::Plugin(PluginError::retry(error.to_string()));
    let (session_id, id) = (delivery.session_id.clone(), delivery.message_out_id.clone());
    let sent =
        context.central.read(move |db| ledger::sent_so_far(db, &session_id, &id)).await.map_err(again)?;
    let (counts, may_double) = that_counts(sent, of);
    if may_double {
        let doubled = delivery.clone();
        context.central.write(move |db| ledger::may_double(db, &doubled)).await.map_err(again)?;
    }
    Ok(counts)
}

/// What counts of what was sent before, whose digest may be another one, and whether the rest may be sent twice. Pure.
fn that_counts(sent: Option<(SentSoFar, Option<String>)>, of: &str) -> (Option<SentSoFar>, bool) {
    match sent {
        Some((sent, Some(was))) if was == of => (Some(sent), false),
        sent => (None, sent.is_some()),
    }
}

/// The message that an operation is about, as its platform knows it. An agent may react to what its session heard or sent in
/// this chat, and change what it sent.
async fn target(
    context: &Context,
    delivery: &Delivery,
    operation: &Operation,
) -> std::result::Result<SentMessage, CallError> {
    let (session_id, chat) = (delivery.session_id.clone(), delivery.address.clone());
    let (named, reacts) = (operation.message().to_owned(), matches!(operation, Operation::React { .. }));
    let read = move |db: &ReadTxn| {
        let sent = ledger::sent_message(db, &session_id, &chat, &named)?;
        if sent.is_some() || !reacts {
            return Ok(sent);
        }
        let heard = ledger::heard_message(db, &session_id, &chat, &named)?;
        Ok(heard.map(|id| SentMessage { id, further: Vec::new() }))
    };
    let found = context.central.read(read).await;
    found.map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))?.ok_or_else(|| {
        let which = if reacts { "got or sent" } else { "sent" };
        CallError::Plugin(PluginError::refused(format!(
            "this session {which} no message `{}` in this chat",
            decide::shown(operation.message())
        )))
    })
}

/// Has the channel do it, or what comes nearest to that.
fn operate(
    manifest: &Manifest,
    message: &mut OutboundMessage,
    operation: Operation,
    target: SentMessage,
) -> std::result::Result<(), CallError> {
    let capability = match operation {
        Operation::Edit { .. } => Capability::Edits,
        Operation::Delete { .. } => Capability::Deletes,
        Operation::React { .. } => Capability::Reactions,
    };
    let is_too_long = match &operation {
        Operation::Edit { text, .. } => !manifest.limit(|limits| &limits.edit).takes_text(text),
        Operation::Delete { .. } | Operation::React { .. } => false,
    };
    if manifest.can(capability) && !is_too_long {
        message.content = operation.content(target.id, target.further);
        return Ok(());
    }
    match operation {
        Operation::Edit { .. } => {}
        Operation::React { .. } => message.in_reply_to = Some(target.id),
        Operation::Delete { .. } => {
            return Err(CallError::Plugin(PluginError::refused(
                "this channel takes no message back; write a new one instead",
            )));
        }
    }
    Ok(())
}

/// The files of a reply.
async fn files(context: &Context, delivery: &Delivery) -> std::result::Result<Vec<StoredFile>, CallError> {
    let (session_id, id) = (delivery.session_id.clone(), delivery.message_out_id.clone());
    let read = move |db: &ReadTxn| ledger::files_of(db, &session_id, Direction::Out, &id);
    let files = context.central.read(read).await;
    files.map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::{Attachment, Blob, Timestamp};

    fn message(text: &str, file: Option<&str>) -> OutboundMessage {
        let file = file.map(|name| Attachment { name: name.into(), ..Attachment::default() });
        let whole = serde_json::json!({ "id": "m", "address": { "channel_type": "x", "account": "main", "platform_id": "c" },
            "content": { "kind": "text", "text": text } });
        let message: OutboundMessage = serde_json::from_value(whole).expect("a message");
        OutboundMessage { attachments: file.into_iter().collect(), ..message }
    }

    #[test]
    fn what_was_sent_counts_for_the_same_words_only() {
        let of = digest(&message("words", None));
        let sent = SentSoFar { parts: 3, ..SentSoFar::default() };
        let before = |digest: Option<&str>| Some((sent.clone(), digest.map(str::to_owned)));
        for (before, want) in [
            (before(Some(&of)), (Some(3), false)),
            (before(Some(&digest(&message("other words", None)))), (None, true)),
            // An earlier version kept no digest.
            (before(None), (None, true)),
            (None, (None, false)),
        ] {
            let (counts, may_double) = that_counts(before, &of);
            assert_eq!((counts.map(|sent| sent.parts), may_double), want);
        }
    }

    #[test]
    fn a_digest_is_of_what_goes_out_and_where() {
        let same = digest(&message("words", Some("a")));
        let with = |change: fn(&mut OutboundMessage)| {
            let mut message = message("words", Some("a"));
            change(&mut message);
            digest(&message) == same
        };
        assert!(with(|message| message.attachments[0].bytes = Some(Blob::from(vec![1]))));
        assert!(with(|message| message.taken_at = Some(Timestamp(7))));
        assert!(with(|message| message.sent_so_far = Some(SentSoFar::default())));
        assert!(!with(|message| message.address.platform_id = "d".into()));
        assert!(!with(|message| message.subject = Some("s".into())));
        assert!(!with(|message| message.attachments.clear()));
        assert!(!with(|message| drop(message.metadata.insert("k".into(), "v".into()))));
    }
}
