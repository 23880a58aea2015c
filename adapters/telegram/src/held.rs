//! Updates whose file is still coming. Each is kept with the runtime, in the commit that moves the cursor past it, and
//! handed over when its file is here. What the same chat says meanwhile waits behind it; other chats do not.

use crate::map::{self, Own, Reading};
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use vestibule_plugin_api::{Blob, PlatformId, Result, Runtime, STATE_VALUE_BYTES_MAX, StateWrite};

/// Where the numbers of the updates are kept, in order; each update has a key of its own.
const INDEX: &str = "held";
/// So many wait at most: an account of the runtime's keeps 1,024 keys. Then no more are asked for.
const HELD_MAX: usize = 200;
/// So many files come at once.
const LOADING_MAX: usize = 4;

/// The file of an update that waits.
enum File {
    /// It is to be fetched, by this id.
    Coming(String),
    /// It is being fetched.
    Loading,
    /// It is here, or there is none, or it cannot be had.
    Here(Option<Blob>),
}

struct Waiting {
    number: i64,
    update: Value,
    chat: PlatformId,
    file: File,
}

/// The updates that wait, in the order in which they came.
#[derive(Default)]
pub struct Held(VecDeque<Waiting>);

impl Held {
    /// Reads what was kept before the last end.
    pub async fn load(runtime: &Runtime, own: &Own) -> Result<Held> {
        let index = runtime.state_get(INDEX).await?.unwrap_or_default();
        let numbers: Vec<i64> = serde_json::from_str(&index).unwrap_or_default();
        let mut held = Held::default();
        for number in numbers {
            let update = runtime.state_get(&key(number)).await?;
            let update = update.and_then(|update| serde_json::from_str(&update).ok());
            held.0.extend(update.and_then(|update| Waiting::new(number, update, own)));
        }
        Ok(held)
    }

    /// Whether something of this chat waits.
    pub fn has(&self, chat: &PlatformId) -> bool {
        self.0.iter().any(|waiting| waiting.chat == *chat)
    }

    /// Whether one more can wait.
    pub fn has_room(&self) -> bool {
        self.0.len() < HELD_MAX
    }

    /// Whether an update is small enough to be kept.
    pub fn fits(update: &Value) -> bool {
        update.to_string().len() <= STATE_VALUE_BYTES_MAX
    }

    /// One more waits. Answers what must be written for it.
    pub fn push(&mut self, number: i64, update: Value, own: &Own) -> Vec<StateWrite> {
        let kept = StateWrite::set(key(number), update.to_string());
        self.0.extend(Waiting::new(number, update, own));
        vec![kept, self.index()]
    }

    /// The next file to fetch: the number of its update, and its id. Only the first of each chat is fetched, so that no
    /// bytes lie here that cannot be handed over.
    pub fn next_to_load(&mut self) -> Option<(i64, String)> {
        let loading = self.0.iter().filter(|waiting| matches!(waiting.file, File::Loading)).count();
        if loading >= LOADING_MAX {
            return None;
        }
        let at = self.first(|file| matches!(file, File::Coming(_)))?;
        let waiting = self.0.get_mut(at)?;
        match std::mem::replace(&mut waiting.file, File::Loading) {
            File::Coming(id) => Some((waiting.number, id)),
            File::Loading | File::Here(_) => None,
        }
    }

    /// A file is here, or cannot be had.
    pub fn loaded(&mut self, number: i64, bytes: Option<Blob>) {
        if let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.number == number) {
            waiting.file = File::Here(bytes);
        }
    }

    /// Fetching ended without an answer: those files cannot be had.
    pub fn none_loaded(&mut self) {
        for waiting in self.0.iter_mut().filter(|waiting| matches!(waiting.file, File::Loading)) {
            waiting.file = File::Here(None);
        }
    }

    /// The next update that is whole and the first of its chat, and what must be written when it is handed over.
    pub fn next_whole(&mut self, own: &Own) -> Option<(i64, Reading, Vec<StateWrite>)> {
        let at = self.first(|file| matches!(file, File::Here(_)))?;
        let Waiting { number, update, file, .. } = self.0.remove(at)?;
        let mut reading = map::read(&update, own);
        if let (Reading::Message(message, ..), File::Here(bytes)) = (&mut reading, file)
            && let Some(attachment) = message.attachments.first_mut()
        {
            attachment.bytes = bytes;
        }
        Some((number, reading, vec![StateWrite::forget(key(number)), self.index()]))
    }

    /// The first that is the first of its chat, and whose file is as wanted.
    fn first(&self, wanted: impl Fn(&File) -> bool) -> Option<usize> {
        let mut chats = HashSet::new();
        self.0.iter().position(|waiting| chats.insert(&waiting.chat) && wanted(&waiting.file))
    }

    fn index(&self) -> StateWrite {
        let numbers: Vec<i64> = self.0.iter().map(|waiting| waiting.number).collect();
        StateWrite::set(INDEX, serde_json::to_string(&numbers).unwrap_or_default())
    }
}

impl Waiting {
    /// Nothing for what is no message: nothing else ever waits.
    fn new(number: i64, update: Value, own: &Own) -> Option<Waiting> {
        let Reading::Message(message, _, file_id) = map::read(&update, own) else { return None };
        let file = file_id.map_or(File::Here(None), File::Coming);
        Some(Waiting { number, update, chat: message.platform_id, file })
    }
}

fn key(number: i64) -> String {
    format!("{INDEX}/{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn own() -> Own {
        Own { id: 99, username: "bot".into() }
    }

    fn update(number: i64, chat: i64, file: Option<&str>) -> Value {
        let mut message = json!({ "message_id": number, "date": 1, "chat": { "id": chat, "type": "private" },
            "from": { "id": chat, "first_name": "Ada" }, "text": format!("n{number}") });
        if let Some(file) = file {
            message["document"] = json!({ "file_id": file });
        }
        json!({ "update_id": number, "message": message })
    }

    fn numbers(held: &mut Held) -> Vec<i64> {
        std::iter::from_fn(|| held.next_whole(&own()).map(|(number, ..)| number)).collect()
    }

    #[test]
    fn order_holds_within_a_chat_and_no_chat_waits_for_another() {
        let mut held = Held::default();
        for (number, chat, file) in [
            (1, 7, Some("a")),
            (2, 7, None),
            (3, 8, Some("b")),
            (4, 7, Some("c")),
            (5, 8, None),
            (6, 7, None),
        ] {
            held.push(number, update(number, chat, file), &own());
        }
        assert!(held.has(&"telegram:7".into()) && !held.has(&"telegram:9".into()));
        assert_eq!(numbers(&mut held), [0; 0], "nothing is whole");
        assert_eq!(held.next_to_load(), Some((1, "a".into())));
        assert_eq!(held.next_to_load(), Some((3, "b".into())));
        assert_eq!(held.next_to_load(), None, "one of each chat");
        held.loaded(3, Some(b"x".to_vec().into()));
        assert_eq!(numbers(&mut held), [3, 5]);
        held.loaded(1, None);
        assert_eq!(numbers(&mut held), [1, 2], "without its file, and what waited behind it");
        assert_eq!(held.next_to_load(), Some((4, "c".into())));
        held.none_loaded();
        assert_eq!(numbers(&mut held), [4, 6]);
        assert!(held.0.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_written_down() {
        let mut held = Held::default();
        let set = |key: &str, value: &str| StateWrite::set(key, value);
        let first = update(1, 7, Some("a"));
        assert_eq!(
            held.push(1, first.clone(), &own()),
            [set("held/1", &first.to_string()), set("held", "[1]")]
        );
        held.push(2, update(2, 7, None), &own());
        held.next_to_load();
        held.loaded(1, Some(b"bytes".to_vec().into()));
        let (number, reading, writes) = held.next_whole(&own()).expect("it is whole");
        let Reading::Message(message, ..) = reading else { panic!("a message") };
        assert_eq!((number, message.attachments[0].bytes.as_deref()), (1, Some(&b"bytes"[..])));
        assert_eq!(writes, [StateWrite::forget("held/1"), set("held", "[2]")]);
        for number in 3..=201 {
            assert!(held.has_room());
            held.push(number, update(number, 1_000 + number, Some("x")), &own());
        }
        assert!(!held.has_room());
        let loading = std::iter::from_fn(|| held.next_to_load()).count();
        assert_eq!(loading, LOADING_MAX);
        let mut large = update(1, 7, None);
        assert!(Held::fits(&large));
        large["message"]["text"] = "x".repeat(STATE_VALUE_BYTES_MAX).into();
        assert!(!Held::fits(&large));
    }
}
