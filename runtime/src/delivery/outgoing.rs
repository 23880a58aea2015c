//! From the record of a delivery to the message that its channel is handed. Pure.

use super::decide;
use crate::attachments::{LeftOut, StoredFile};
use crate::clock::Timestamp;
use crate::ledger::Delivery;
use crate::plugins::CallError;
use std::collections::HashSet;
use vestibule_plugin_api::{Attachment, Blob, Content, Limit, OutboundMessage, PluginError};
use vestibule_session::name;

/// Gives the files of a reply names that are safe and differ; leaves out the files that its session has no room for.
pub fn named(files: Vec<StoredFile>, mut room: u64, now: Timestamp) -> Vec<StoredFile> {
    let mut names = HashSet::new();
    let name = |mut file: StoredFile| {
        file.name = name::file_name(&file.name, None, None, now.0);
        if !names.insert(file.name.clone()) {
            file.name = name::numbered(&file.name, file.position + 1);
            names.insert(file.name.clone());
        }
        match room.checked_sub(file.size_bytes) {
            Some(left) if file.blob.is_ok() => room = left,
            None if file.blob.is_ok() => {
                let why = "its session holds too many files (`session_files_mb`)";
                file.blob = Err(LeftOut(why.to_owned()));
            }
            _ => {}
        }
        file
    };
    files.into_iter().map(name).collect()
}

/// The message that a channel is handed, and the blobs of its files, which are not read yet. A file that the channel cannot
/// carry, that is one too many or too large for it (`carried` says its limit), or that could not be read, is named in the
/// text, so that people know of it.
///
/// # Errors
/// The reply has nothing that could be delivered.
pub fn message(
    delivery: &Delivery,
    files: Vec<StoredFile>,
    carried: Option<&Limit>,
) -> Result<(OutboundMessage, Vec<String>), CallError> {
    let refused = |why| CallError::Plugin(PluginError::refused(why));
    let mut text = decide::text_of(&delivery.content).map_err(refused)?;
    let (mut attachments, mut blobs) = (Vec::new(), Vec::new());
    for file in files {
        let reason = match (&file.blob, carried) {
            (Ok(blob), Some(limit)) if limit.takes_file(attachments.len(), &file.name, file.size_bytes) => {
                blobs.push(blob.clone());
                attachments.push(attachment(file));
                continue;
            }
            (Err(LeftOut(why)), _) => why.as_str(),
            (Ok(_), Some(_)) => "this channel carries no more files, none so large, or none of this kind",
            (Ok(_), None) => "this channel carries no files",
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[file: {} — not sent: {reason}]", file.name));
    }
    let decide::Beside { subject, metadata } = decide::beside(&delivery.content);
    let message = OutboundMessage {
        id: delivery.message_out_id.clone(),
        address: delivery.address.clone(),
        content: Content::Text { text },
        taken_at: Some(delivery.taken_at),
        subject,
        metadata,
        sent_so_far: None,
        in_reply_to: delivery.in_reply_to.clone(),
        attachments,
    };
    Ok((message, blobs))
}

/// Gives a message its files, in order.
pub fn give(message: &mut OutboundMessage, files: Vec<Vec<u8>>) {
    for (file, bytes) in message.attachments.iter_mut().zip(files) {
        file.bytes = Some(Blob::from(bytes));
    }
}

/// A file as its channel is told of it, without its bytes.
pub fn attachment(file: StoredFile) -> Attachment {
    Attachment {
        kind: None,
        mime_type: name::mime_type(&file.name).map(str::to_owned),
        size_bytes: Some(file.size_bytes),
        url: None,
        reference: None,
        quoted: false,
        bytes: None,
        name: file.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::Address;
    use vestibule_plugin_api::wire::{self, Request};

    fn stored(position: usize, name: &str, blob: Result<&str, &str>) -> StoredFile {
        let blob = blob.map(str::to_owned).map_err(|why| LeftOut(why.to_owned()));
        StoredFile { position, name: name.into(), size_bytes: 3, blob }
    }

    #[test]
    fn names_are_safe_and_differ() {
        let files = vec![
            stored(0, "a.txt", Ok("1")),
            stored(1, "a.txt", Ok("2")),
            stored(2, "../../x", Ok("3")),
            stored(3, "b", Ok("4")),
        ];
        let told: Vec<String> = named(files, 10, Timestamp(7))
            .into_iter()
            .map(|file| format!("{} {}", file.name, file.blob.unwrap_or_else(|why| why.to_string())))
            .collect();
        assert_eq!(
            told,
            [
                "a.txt 1",
                "a-2.txt 2",
                "attachment-7 3",
                "b its session holds too many files (`session_files_mb`)"
            ]
        );
    }

    #[test]
    fn what_has_no_bytes_takes_no_room_and_keeps_its_reason() {
        let files = vec![stored(0, "a", Err("gone")), stored(1, "b", Ok("1")), stored(2, "c", Err("a link"))];
        let told: Vec<_> = named(files, 3, Timestamp(7)).into_iter().map(|file| file.blob).collect();
        let left_out = |why: &str| Err(LeftOut(why.to_owned()));
        assert_eq!(told, [left_out("gone"), Ok("1".to_owned()), left_out("a link")]);
    }

    #[test]
    fn what_a_channel_is_handed() {
        let delivery = |content: &str| Delivery {
            session_id: "s".into(),
            message_out_id: "o".into(),
            in_reply_to: None,
            address: Address {
                channel_type: "x".into(),
                account: "main".into(),
                platform_id: "c".into(),
                thread_id: None,
            },
            content: content.into(),
            attempts: 1,
            taken_at: Timestamp(0),
            due_at: Timestamp(0),
            seq: 1,
            look_up: false,
        };
        let files = || vec![stored(0, "a.pdf", Ok("1")), stored(1, "b", Err("gone"))];
        let words = r#"{"text":"see","files":["a.pdf","b"]}"#;
        let alone = r#"{"text":"","files":["a.pdf","b"]}"#;
        // content, whether files are carried, the text, how many files
        let cases = [
            (words, Some(Limit::default()), "see\n[file: b — not sent: gone]", 1),
            (
                words,
                None,
                "see\n[file: a.pdf — not sent: this channel carries no files]\n[file: b — not sent: gone]",
                0,
            ),
            (
                words,
                Some(Limit { file_bytes: Some(2), ..Limit::default() }),
                "see\n[file: a.pdf — not sent: this channel carries no more files, none so large, or none of this kind]\n[file: b — not sent: gone]",
                0,
            ),
            (alone, Some(Limit::default()), "[file: b — not sent: gone]", 1),
        ];
        for (content, carries, text, count) in cases {
            let (message, blobs) =
                message(&delivery(content), files(), carries.as_ref()).expect("it can be sent");
            assert_eq!(blobs, ["1"][..count], "{content}");
            assert_eq!(message.content, Content::Text { text: text.into() }, "{content}");
            assert_eq!(message.attachments.len(), count, "{content}");
            assert!(message.attachments.iter().all(|a| a.mime_type.as_deref() == Some("application/pdf")));
        }
        // The bytes that were read from the store are the ones that cross: no copy on the way.
        let bytes = vec![7; 1 << 20];
        let begin = bytes.as_ptr();
        let (mut message, _) =
            message(&delivery(words), files(), Some(&Limit::default())).expect("it can be sent");
        give(&mut message, vec![bytes]);
        let frame = wire::frame_with_blobs(Request::Deliver { message });
        assert_eq!(frame.blobs[0].as_ptr(), begin);
    }
}
