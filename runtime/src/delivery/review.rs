//! Asks the modules that review, before anything leaves.

use super::decide::{Beside, beside, card_of, operation_of, question_of, text_of};
use super::outgoing::attachment;
use crate::attachments::StoredFile;
use crate::context::Context;
use crate::db::ReadTxn;
use crate::error::Error;
use crate::ledger::{self, Delivery, Direction};
use crate::plugins::{self, CallError, Said, Stop};
use crate::questions::Asked;
use serde_json::{Value, json};
use vestibule_plugin_api::{Asking, AskingOption, Hook, PluginError, Reviewed};

/// The delivery with the text that the modules want; `None` when it stays as it is. The record keeps what the agent
/// wrote, and every attempt asks anew.
///
/// # Errors
/// A module refused it, or failed and then lets nothing pass. Or the runtime stops: then it is asked about again.
pub async fn reviewed(context: &Context, delivery: &Delivery) -> Result<Option<Delivery>, CallError> {
    if context.plugins.registry.at(Hook::Review).is_empty() {
        return Ok(None);
    }
    let refused = |why| CallError::Plugin(PluginError::refused(why));
    let (session_id, id) = (delivery.session_id.clone(), delivery.message_out_id.clone());
    let read = move |db: &ReadTxn| ledger::files_of(db, &session_id, Direction::Out, &id);
    let files = context.central.read(read).await;
    let again = |error: Error| CallError::Plugin(PluginError::retry(error.to_string()));
    let files = files.map_err(again)?;
    let message = question(delivery, files).map_err(refused)?;
    match plugins::review(&context.plugins, message).await.map_err(again)? {
        Said::Pass(None) => Ok(None),
        Said::Pass(Some(words)) => {
            Ok(Some(Delivery { content: with_text(&delivery.content, &words.text), ..delivery.clone() }))
        }
        Said::Stop(stop) => Err(refused(why(stop))),
    }
}

/// Why it goes no further: its agent is told so, and reads what the module says to it.
fn why(stop: Stop) -> String {
    match stop.told {
        Some(told) => format!("{}; it says: {}", stop.reason, told.text),
        None => stop.reason,
    }
}

/// What the modules are asked about: everything that a channel, or another agent, is handed.
///
/// # Errors
/// The delivery has nothing that could be delivered.
fn question(delivery: &Delivery, files: Vec<StoredFile>) -> Result<Reviewed, String> {
    let Beside { subject, metadata } = beside(&delivery.content);
    Ok(Reviewed {
        id: delivery.message_out_id.clone(),
        address: delivery.address.clone(),
        session: delivery.session_id.to_string(),
        text: text_of(&delivery.content)?,
        files: files.iter().map(|file| file.name.clone()).collect(),
        attachments: files.into_iter().map(attachment).collect(),
        question: question_of(&delivery.content).map(asking),
        in_reply_to: delivery.in_reply_to.clone(),
        taken_at: Some(delivery.taken_at),
        card: card_of(&delivery.content),
        change: operation_of(&delivery.content).map(|operation| operation.changed()),
        subject,
        metadata,
    })
}

fn asking(asked: Asked) -> Asking {
    let option = |option: crate::questions::Choosable| AskingOption {
        label: option.label,
        shown: option.selected_label,
    };
    Asking {
        title: asked.title,
        question: asked.question,
        options: asked.options.into_iter().map(option).collect(),
    }
}

/// Puts another text in place of all that the content says, and keeps its files; an edit stays one. A question, a card
/// or a reaction goes out as words only: the rest of it may say what the module took out.
fn with_text(content: &str, text: &str) -> String {
    let mut content: Value = serde_json::from_str(content).unwrap_or_default();
    let mut plain = json!({ "text": text });
    if content["operation"] == "edit" {
        plain["operation"] = "edit".into();
        plain["messageId"] = content["messageId"].take();
    }
    if content["files"].is_array() {
        plain["files"] = content["files"].take();
    }
    plain.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::outgoing;
    use vestibule_plugin_api::{
        Address, Attachment, Changed, Content, Limit, Offer, OutboundMessage, Timestamp,
    };

    fn delivery(content: &str) -> Delivery {
        Delivery {
            session_id: "s".into(),
            message_out_id: "m".into(),
            in_reply_to: Some("p".into()),
            address: Address {
                channel_type: "x".into(),
                account: "main".into(),
                platform_id: "c".into(),
                thread_id: Some("t".into()),
            },
            content: content.into(),
            attempts: 1,
            taken_at: Timestamp(7),
            due_at: Timestamp(7),
            seq: 1,
            look_up: false,
        }
    }

    /// What a channel is handed and the modules were not shown. Every field of a message stands here: a new one must be
    /// shown to the modules, too.
    fn unseen(message: OutboundMessage, seen: &Reviewed) -> Vec<&'static str> {
        // How much has gone out are its channel's own words.
        let OutboundMessage {
            id,
            address,
            content,
            subject,
            metadata,
            taken_at,
            sent_so_far: _,
            in_reply_to,
            attachments,
        } = message;
        let content_is_seen = match content {
            Content::Text { text } => text == seen.text,
            Content::Question { title, question, options } => {
                let labels = options.into_iter().map(|Offer { label, token: _ }| label).collect::<Vec<_>>();
                let asking = seen.question.as_ref().expect("a question is shown as one");
                let shown = asking.options.iter().map(|option| option.label.clone()).collect::<Vec<_>>();
                (title, question, labels) == (asking.title.clone(), asking.question.clone(), shown)
            }
            Content::Card(card) => Some(card) == seen.card,
            Content::Edit { message_id: _, text, further_message_ids: _ } => {
                seen.change == Some(Changed::Edited { text: text.clone(), is_mention: false })
                    && text == seen.text
            }
            Content::Delete { message_id: _, further_message_ids: _ } => {
                seen.change == Some(Changed::Deleted)
            }
            Content::Reaction { message_id: _, emoji } => {
                seen.change == Some(Changed::Reacted { emoji: emoji.clone() }) && emoji == seen.text
            }
            Content::Unknown => false,
        };
        let is_seen = |file: &Attachment| {
            let Attachment { name, kind, mime_type, size_bytes, url, reference: _, quoted: _, bytes: _ } =
                file;
            let same = |other: &&Attachment| {
                (&other.name, &other.kind, &other.mime_type, &other.size_bytes, &other.url)
                    == (name, kind, mime_type, size_bytes, url)
            };
            seen.files.contains(name) && seen.attachments.iter().find(same).is_some()
        };
        let fields = [
            ("id", id == seen.id),
            ("address", address == seen.address),
            ("content", content_is_seen),
            ("subject", subject == seen.subject),
            ("metadata", metadata == seen.metadata),
            ("taken_at", taken_at == seen.taken_at),
            ("in_reply_to", in_reply_to == seen.in_reply_to),
            ("attachments", attachments.iter().all(is_seen)),
        ];
        fields.into_iter().filter(|(_, seen)| !seen).map(|(name, _)| name).collect()
    }

    #[test]
    fn what_a_module_took_out_stands_nowhere_else() {
        for content in [
            r#"{"text":"rude","markdown":"**rude**"}"#,
            r#"{"type":"card","card":{"title":"rude","children":["rude"]},"fallbackText":"rude"}"#,
            r#"{"type":"ask_question","questionId":"m","title":"rude","question":"rude?","options":["rude"]}"#,
            r#"{"text":"rude","files":["a.pdf"]}"#,
            r#"{"text":"hi","subject":"rude","metadata":{"rude":"rude"}}"#,
            r#"{"operation":"edit","messageId":"p","markdown":"rude"}"#,
            r#"{"operation":"reaction","messageId":"p","emoji":"rude"}"#,
        ] {
            let kind = with_text(content, "kind");
            assert_eq!(text_of(&kind).as_deref(), Ok("kind"), "{content}");
            let stays = operation_of(&kind).is_some_and(|operation| operation.message() == "p");
            assert_eq!(stays, content.contains("edit"), "{kind}");
            assert!(!kind.contains("rude") && kind.contains("a.pdf") == content.contains("a.pdf"), "{kind}");
        }
    }

    #[test]
    fn modules_are_shown_all_that_a_channel_is_handed() {
        let asks = r#"{"type":"ask_question","questionId":"m","title":"Deploy","question":"Now?",
            "options":[{"label":"Yes","selectedLabel":"done","value":"y"},"No"]}"#;
        for content in [
            r#"{"text":"words"}"#,
            r#"{"text":"words","markdown":"**words**"}"#,
            r#"{"text":"words","subject":"Plans","metadata":{"template":"hello"}}"#,
            r#"{"text":"see","files":["a.pdf"]}"#,
            r#"{"text":"","files":["a.pdf"]}"#,
            r#"{"type":"card","card":{"title":"Build"},"fallbackText":"green"}"#,
            r#"{"operation":"edit","messageId":"p","text":"words"}"#,
            r#"{"operation":"delete","messageId":"p"}"#,
            r#"{"operation":"reaction","messageId":"p","emoji":"eyes"}"#,
            asks,
        ] {
            let delivery = delivery(content);
            let file = |name: &str| StoredFile {
                position: 0,
                name: name.into(),
                size_bytes: 3,
                blob: Ok("1".into()),
            };
            let files = if content.contains("files") { vec![file("a.pdf")] } else { vec![] };
            let seen = question(&delivery, files.clone()).expect("it can be delivered");
            let (message, _) =
                outgoing::message(&delivery, files, Some(&Limit::default())).expect("it can be delivered");
            assert_eq!(unseen(message.clone(), &seen), [""; 0], "{content}");
            if let Some(card) = card_of(content) {
                let message = OutboundMessage { content: Content::Card(card), ..message.clone() };
                assert_eq!(unseen(message, &seen), [""; 0], "{content}");
            }
            if let Some(operation) = operation_of(content) {
                let message =
                    OutboundMessage { content: operation.content("p".into(), Vec::new()), ..message.clone() };
                assert_eq!(unseen(message, &seen), [""; 0], "{content}");
            }
            // And the words of a question where the channel has buttons.
            let Some(asked) = question_of(content) else { continue };
            let message = OutboundMessage { content: asked.content("token"), ..message };
            assert_eq!(unseen(message, &seen), [""; 0], "{content}");
            let shown = seen.question.expect("a question").options.into_iter().map(|option| option.shown);
            assert_eq!(shown.collect::<Vec<_>>(), ["done", "No"], "what stands there once it is chosen");
        }
    }
}
