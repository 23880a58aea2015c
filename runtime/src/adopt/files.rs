//! What becomes of the files that a foreign row names. Pure. Every word of the row is untrusted.

use crate::attachments::{LeftOut, StoredFile};
use serde_json::Value;
use vestibule_plugin_api::ATTACHMENTS_MAX;
use vestibule_session::{SessionDir, inbox_files};

/// An inbound row's files, as they are taken over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// By folder of `inbox/`: those that are shown there, and those that are not with the reason.
    pub folders: Vec<(String, Vec<StoredFile>)>,
    /// What stays behind: its path as the row has it, and why.
    pub left_out: Vec<(String, String)>,
}

/// Finds the files of an inbound row among those that were handed over, as far as there is `room`. The content no
/// longer names those left out as if they were there.
pub fn of_message(content: &mut String, mut handed: Vec<StoredFile>, mut room: u64) -> Taken {
    let mut taken = Taken::default();
    let mut gone = Vec::new();
    for (count, (position, path)) in inbox_files(content).into_iter().enumerate() {
        let reason = match SessionDir::in_inbox(&path) {
            None => "it lies outside the session's `inbox/`".to_owned(),
            Some(_) if count >= ATTACHMENTS_MAX => format!("a message may have {ATTACHMENTS_MAX} files"),
            Some((folder, name)) => {
                let at = handed.iter().position(|file| file.position == position);
                let size_bytes = at.map_or(0, |at| handed[at].size_bytes);
                let left_out = |why: &str| LeftOut(why.to_owned());
                let blob =
                    at.map_or(Err(left_out("it was not handed over")), |at| handed.swap_remove(at).blob);
                let blob = blob.and_then(|blob| {
                    room = room
                        .checked_sub(size_bytes)
                        .ok_or_else(|| left_out("its session holds too many files (`session_files_mb`)"))?;
                    Ok(blob)
                });
                let reason = blob.clone().err();
                let file = StoredFile { position, name: name.to_owned(), size_bytes, blob };
                match taken.folders.last_mut() {
                    Some((last, files)) if last == folder => files.push(file),
                    _ => taken.folders.push((folder.to_owned(), vec![file])),
                }
                let Some(LeftOut(reason)) = reason else { continue };
                reason
            }
        };
        gone.push((position, (count < ATTACHMENTS_MAX).then(|| reason.clone())));
        taken.left_out.push((path, reason));
    }
    if !gone.is_empty() {
        *content = without(content, gone);
    }
    taken
}

/// The content with these attachments as ones that were left out.
fn without(content: &str, gone: Vec<(usize, Option<String>)>) -> String {
    let Ok(mut whole) = serde_json::from_str::<Value>(content) else { return content.to_owned() };
    for (position, reason) in gone {
        let Some(entry) = whole["attachments"].get_mut(position).and_then(Value::as_object_mut) else {
            continue;
        };
        entry.remove("localPath");
        if let Some(reason) = reason {
            entry.insert("leftOut".to_owned(), reason.into());
        }
    }
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn content(paths: &[&str]) -> String {
        let entry = |path: &&str| json!({ "name": "n", "localPath": path });
        json!({ "text": "see", "attachments": paths.iter().map(entry).collect::<Vec<_>>() }).to_string()
    }

    fn handed(position: usize, size_bytes: u64, blob: Result<&str, &str>) -> StoredFile {
        let blob = blob.map(str::to_owned).map_err(|why| LeftOut(why.to_owned()));
        StoredFile { position, name: "whatever".into(), size_bytes, blob }
    }

    /// In words: each folder with its files, then what is left out.
    fn told(paths: &[&str], files: Vec<StoredFile>) -> (String, Value) {
        let mut content = content(paths);
        let taken = of_message(&mut content, files, 10);
        let mut words = Vec::new();
        for (folder, files) in taken.folders {
            words.extend(
                files
                    .into_iter()
                    .filter_map(|file| Some(format!("{folder}/{} {}", file.name, file.blob.ok()?))),
            );
        }
        words.extend(taken.left_out.into_iter().map(|(path, why)| format!("{path}: {why}")));
        (words.join("; "), serde_json::from_str(&content).expect("it is JSON"))
    }

    #[test]
    fn which_files_are_taken() {
        let there = || vec![handed(1, 4, Ok("b1")), handed(0, 5, Ok("b0"))];
        for (paths, files, want) in [
            (&["inbox/m:ag/a.pdf", "inbox/m:ag/b"][..], there(), "m:ag/a.pdf b0; m:ag/b b1"),
            (&["inbox/x/a", "inbox/y/a"], there(), "x/a b0; y/a b1"),
            (&["inbox/x/a"], vec![], "inbox/x/a: it was not handed over"),
            (&["inbox/x/a"], vec![handed(0, 0, Err("gone"))], "inbox/x/a: gone"),
            (
                &["inbox/x/a"],
                vec![handed(0, 11, Ok("b"))],
                "inbox/x/a: its session holds too many files (`session_files_mb`)",
            ),
            (&["inbox/../x"], there(), "inbox/../x: it lies outside the session's `inbox/`"),
            (&["/etc/passwd"], there(), "/etc/passwd: it lies outside the session's `inbox/`"),
            (&["attachments/a"], there(), "attachments/a: it lies outside the session's `inbox/`"),
            (&["inbox/a/b/c"], there(), "inbox/a/b/c: it lies outside the session's `inbox/`"),
        ] {
            assert_eq!(told(paths, files).0, want);
        }
    }

    #[test]
    fn a_row_names_no_file_that_stays_behind() {
        let (_, content) = told(&["inbox/x/a", "inbox/x/b"], vec![handed(1, 1, Ok("b"))]);
        assert_eq!(
            content["attachments"],
            json!([{ "name": "n", "leftOut": "it was not handed over" }, { "name": "n", "localPath": "inbox/x/b" }])
        );
        let many = vec!["inbox/x/a"; ATTACHMENTS_MAX + 1];
        let all = (0..ATTACHMENTS_MAX).map(|position| handed(position, 0, Ok("b"))).collect();
        let (words, content) = told(&many, all);
        assert!(words.ends_with("inbox/x/a: a message may have 32 files"), "{words}");
        assert_eq!(content["attachments"][ATTACHMENTS_MAX], json!({ "name": "n" }));
        let mut plain = "{\"text\":\"no files\"}".to_owned();
        assert_eq!(of_message(&mut plain, vec![], 0), Taken::default());
        assert_eq!(plain, "{\"text\":\"no files\"}");
    }
}
