//! Delivering: a long text and files become several messages. The number of parts that were sent is kept, so that a
//! second attempt goes on where the first one broke off.

use crate::api::{Api, Edited, Words};
use crate::media::{self, File};
use crate::post::Post;
use crate::{card, chats, map, react, tap};
use serde_json::Value;
use vestibule_plugin_api::toolbox::markdown::{self, Dialect, Unit};
use vestibule_plugin_api::toolbox::sending::Sending;
use vestibule_plugin_api::{Attachment, Content, OutboundMessage, PluginError, Receipt, Result, Runtime};

/// The longest text of one message. Telegram does not count its tags.
pub const TEXT_UNITS_MAX: usize = 4_096;
/// The longest text under a file.
const CAPTION_UNITS_MAX: usize = 1_024;
/// What is left of a message that belonged to words that were edited, should it be too old to be taken back.
const LEFT_OF_IT: &str = "\u{2026}";

/// What one call sends.
#[derive(Debug, Default, PartialEq)]
struct Part {
    /// A text in Telegram's HTML, or what stands under the files.
    words: String,
    /// The buttons under a text.
    buttons: Option<Value>,
    /// One file, or an album.
    files: Vec<File>,
}

/// Does what a message asks for: sends the parts that have not been sent, or changes what is there.
pub async fn deliver(api: &Api, runtime: &Runtime, message: OutboundMessage) -> Result<Receipt> {
    let mut target = map::target(&message.address).map_err(PluginError::refused)?;
    let (chat, one) =
        (target.chat, |id: &String| map::message_in(target.chat, id).map_err(PluginError::refused));
    match &message.content {
        Content::Edit { message_id, text, further_message_ids } => {
            let further = further_message_ids.iter().map(one).collect::<Result<Vec<_>>>()?;
            edit(api, chat, one(message_id)?, text).await?;
            for message in further {
                withdraw(api, chat, message).await?;
            }
            return Ok(Receipt::default());
        }
        Content::Delete { message_id, further_message_ids } => {
            // The first goes last: as long as it is there, the agent can ask for the rest again.
            for id in further_message_ids.iter().chain([message_id]) {
                api.delete(chat, one(id)?).await?;
            }
            return Ok(Receipt::default());
        }
        Content::Reaction { message_id, emoji } => {
            let emoji = react::reaction(emoji).map_err(PluginError::refused)?;
            api.react(chat, one(message_id)?, emoji).await?;
            return Ok(Receipt::default());
        }
        _ => {}
    }
    let parts = parts(message.content, message.attachments)?;
    let mut sending = Sending::of(runtime, &message.id, message.sent_so_far, parts.len());
    for (number, part) in parts.iter().enumerate().skip(sending.parts()) {
        let quoted = message.in_reply_to.as_deref().filter(|_| number == 0);
        let quote = map::quote(&target, quoted);
        let Part { words, buttons, files } = part;
        let post = Post { words, buttons: buttons.as_ref(), files, quote };
        let mut done = api.post(&target, &post).await;
        if let Some(now) = done.as_ref().err().and_then(|failed| failed.moved_to) {
            chats::follow(runtime, target.chat, now).await;
            target.chat = now;
            done = api.post(&target, &Post { quote: map::quote(&target, quoted), ..post }).await;
        }
        sending.went(done?.into_iter().map(|id| map::message_name(target.chat, id))).await;
    }
    Ok(sending.receipt())
}

/// The messages that a delivery is. Pure.
fn parts(content: Content, attachments: Vec<Attachment>) -> Result<Vec<Part>> {
    let (text, buttons) = match content {
        Content::Text { text } => (text, None),
        Content::Question { title, question, options } => {
            (tap::words(&title, &question), Some(tap::keyboard(&options)))
        }
        Content::Card(card) => (card::words(&card), card::keyboard(&card)),
        _ => {
            return Err(PluginError::unsupported("this kind of content cannot be sent"));
        }
    };
    let files = attachments.into_iter().filter(|file| file.bytes.is_some()).collect();
    let mut albums = media::albums(files);
    if let ([album], None) = (&mut albums[..], &buttons)
        && let [caption] = &messages(&text, CAPTION_UNITS_MAX)[..]
    {
        let files = std::mem::take(album);
        return Ok(vec![Part { words: caption.clone(), buttons: None, files }]);
    }
    let texts = messages(&text, TEXT_UNITS_MAX);
    let mut parts: Vec<Part> = texts.into_iter().map(|words| Part { words, ..Part::default() }).collect();
    if let Some(last) = parts.last_mut() {
        last.buttons = buttons;
    }
    parts.extend(albums.into_iter().map(|files| Part { files, ..Part::default() }));
    match parts.is_empty() {
        true => Err(PluginError::refused("there is nothing to send: no text and no file")),
        false => Ok(parts),
    }
}

fn messages(text: &str, most: usize) -> Vec<String> {
    markdown::messages(text, Dialect::Telegram, Unit::Utf16, most)
}

/// Gives a message other words: a text, or what stands under a file.
async fn edit(api: &Api, chat: i64, message: i64, text: &str) -> Result<()> {
    for (words, most) in [(Words::Text, TEXT_UNITS_MAX), (Words::Caption, CAPTION_UNITS_MAX)] {
        let edited = match &messages(text, most)[..] {
            [text] => api.edit(words, chat, message, text).await?,
            [] => return Err(PluginError::refused("the edit says nothing: delete the message instead")),
            _ => {
                return Err(PluginError::refused(format!(
                    "an edited message holds {most} characters here: send a new one"
                )));
            }
        };
        match edited {
            Edited::Done => return Ok(()),
            Edited::IsFile => {}
            Edited::Gone => return Err(PluginError::refused("the message is not there any more")),
        }
    }
    Err(PluginError::refused("the message has no words that could be changed"))
}

/// Takes back what held more of the words that were edited. The files of the same reply stay: they have no text.
async fn withdraw(api: &Api, chat: i64, message: i64) -> Result<()> {
    if api.edit(Words::Text, chat, message, LEFT_OF_IT).await? != Edited::Done {
        return Ok(());
    }
    match api.delete(chat, message).await {
        Err(PluginError::Refused { reason }) => {
            tracing::debug!(reason, "a message stays where it is, without its words");
            Ok(())
        }
        deleted => deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::{Card, Link};

    fn file(name: &str, mime_type: &str) -> Attachment {
        let bytes = Some(b"x".to_vec().into());
        Attachment { name: name.into(), mime_type: Some(mime_type.into()), bytes, ..Attachment::default() }
    }

    /// What each part says, with how many files.
    fn said(text: &str, files: &[Attachment]) -> Vec<(String, usize)> {
        let parts = parts(Content::Text { text: text.into() }, files.to_vec()).expect("it is sent");
        parts.into_iter().map(|part| (part.words, part.files.len())).collect()
    }

    #[test]
    fn words_stand_under_files_that_go_out_together() {
        let (photo, pdf) = (file("a.jpg", "image/jpeg"), file("a.pdf", "application/pdf"));
        let gone = Attachment { bytes: None, ..photo.clone() };
        let album = [photo.clone(), photo.clone()];
        let (short, long) = ("\u{1f389}".repeat(512), "\u{1f389}".repeat(513));
        for (text, files, want) in [
            ("look", &[][..], &[("look", 0)][..]),
            ("**look** & see", &album[..1], &[("<b>look</b> &amp; see", 1)]),
            ("look", &album, &[("look", 2)]),
            ("look", &[photo.clone(), pdf], &[("look", 0), ("", 1), ("", 1)]),
            ("", &album, &[("", 2)]),
            ("look", &[gone], &[("look", 0)]),
            (&short, &album, &[(&*short, 2)]),
            (&long, &album, &[(&*long, 0), ("", 2)]),
        ] {
            let want: Vec<_> = want.iter().map(|(words, files)| ((*words).to_owned(), *files)).collect();
            assert_eq!(said(text, files), want, "{text}");
        }
        assert!(parts(Content::Text { text: " ".into() }, vec![]).is_err());
    }

    #[test]
    fn buttons_stand_under_a_text_of_its_own() {
        let link = Link { label: "Log".into(), url: "https://a.example".into() };
        let card = Card { title: "Build".into(), links: vec![link], ..Card::default() };
        let parts = parts(Content::Card(card), vec![file("a.jpg", "image/jpeg")]).expect("it is sent");
        let shown: Vec<_> = parts.iter().map(|part| (part.buttons.is_some(), part.files.len())).collect();
        assert_eq!(shown, [(true, 0), (false, 1)]);
    }
}
