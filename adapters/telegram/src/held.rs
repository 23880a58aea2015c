//! Updates whose file is still coming. Each is kept with the runtime, in the commit that moves the cursor past it, and
//! handed over when its file is here. Later messages of the same chat wait behind it; other chats do not.
//!
//! The parts of an album, or of a text that was too long for one message, become one message: they, too, wait, until no
//! further part comes.

use crate::map::{self, Own, Piece, Reading};
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use vestibule_plugin_api::{Blob, PlatformId, Result, Runtime, STATE_VALUE_BYTES_MAX, StateWrite};

/// The quiet time after which no further part is expected: parts come one right after the other.
pub const PARTS_QUIET: Duration = Duration::from_secs(1);
/// The most seconds between the times at which two parts were written.
const PARTS_APART_MAX: i64 = 5;
/// The most parts of one message. Telegram puts no more into an album; a longer text becomes several messages.
const PARTS_MAX: usize = 10;
/// The most bytes of one album's files that are kept: by default a runtime takes no more with one message.
const PARTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The key of the updates' numbers, in order; each update has a key of its own.
const INDEX: &str = "held";
/// The most updates that wait: an account keeps 1,024 keys. At this number the channel asks for no more.
const HELD_MAX: usize = 200;
/// The most files that are fetched at once.
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

struct Part {
    number: i64,
    update: Value,
    file: File,
}

/// A message that waits: one update, or several parts.
struct Waiting {
    chat: PlatformId,
    parts: Vec<Part>,
    /// What the last part belongs to, if another part may follow.
    open: Option<Piece>,
    /// Since when no part came; nothing once no more is expected.
    quiet_since: Option<Instant>,
}

/// The messages that wait, in the order in which they came.
#[derive(Default)]
pub struct Held(VecDeque<Waiting>);

impl Held {
    /// Reads the updates that were kept before the channel last ended.
    pub async fn load(runtime: &Runtime, own: &Own) -> Result<Held> {
        let index = runtime.state_get(INDEX).await?.unwrap_or_default();
        let numbers: Vec<i64> = serde_json::from_str(&index).unwrap_or_default();
        let mut held = Held::default();
        for number in numbers {
            let update = runtime.state_get(&key(number)).await?;
            if let Some(update) = update.and_then(|update| serde_json::from_str(&update).ok()) {
                held.add(number, update, own);
            }
        }
        Ok(held)
    }

    /// Whether a message of this chat waits.
    pub fn has(&self, chat: &PlatformId) -> bool {
        self.0.iter().any(|waiting| waiting.chat == *chat)
    }

    /// Whether one more update can wait.
    pub fn has_room(&self) -> bool {
        self.0.iter().map(|waiting| waiting.parts.len()).sum::<usize>() < HELD_MAX
    }

    /// Whether an update is small enough to be kept.
    pub fn fits(update: &Value) -> bool {
        update.to_string().len() <= STATE_VALUE_BYTES_MAX
    }

    /// Keeps one more update. Returns the writes that record it.
    pub fn push(&mut self, number: i64, update: Value, own: &Own) -> Vec<StateWrite> {
        let kept = StateWrite::set(key(number), update.to_string());
        self.add(number, update, own);
        vec![kept, self.index()]
    }

    /// Adds an update, if it is a message: nothing else ever waits.
    fn add(&mut self, number: i64, update: Value, own: &Own) {
        let Reading::Message(message, _, file_id) = map::read(&update, own) else { return };
        let chat = message.platform_id;
        let piece = map::piece(&update);
        let part = Part { number, update, file: file_id.map_or(File::Here(None), File::Coming) };
        let mut same = self.0.iter_mut().filter(|waiting| waiting.chat == chat);
        let whole = piece.as_ref().and_then(|piece| same.find(|waiting| waiting.takes(piece)));
        let open = piece.filter(|piece| piece.goes_on);
        let quiet_since = open.as_ref().map(|_| Instant::now());
        if let Some(whole) = whole {
            whole.parts.push(part);
            (whole.open, whole.quiet_since) = (open, quiet_since);
        } else {
            self.0.push_back(Waiting { chat, parts: vec![part], open, quiet_since });
        }
    }

    /// Whether a message that waits expects another part.
    pub fn expects_parts(&self) -> bool {
        self.0.iter().any(|waiting| waiting.quiet_since.is_some())
    }

    /// All that Telegram had at this time is here: a message without a further part for a while before it is complete.
    pub fn complete(&mut self, answered: Instant) {
        for waiting in &mut self.0 {
            waiting.quiet_since =
                waiting.quiet_since.filter(|since| answered.saturating_duration_since(*since) < PARTS_QUIET);
        }
    }

    /// Starts the quiet time anew, because Telegram was not heard for a while and may have further parts.
    pub fn expect_parts_from(&mut self, now: Instant) {
        self.0.iter_mut().filter_map(|waiting| waiting.quiet_since.as_mut()).for_each(|since| *since = now);
    }

    /// Completes all messages: none waits for another part any longer.
    pub fn expect_no_parts(&mut self) {
        self.0.iter_mut().for_each(|waiting| waiting.quiet_since = None);
    }

    /// The next file to fetch: the number of its update, and its id. Only those of the first message of each chat are
    /// fetched, and only if it is complete, so that no bytes lie here that cannot be handed over.
    pub fn next_to_load(&mut self) -> Option<(i64, String)> {
        let files = self.0.iter().flat_map(|waiting| &waiting.parts);
        if files.filter(|part| matches!(part.file, File::Loading)).count() >= LOADING_MAX {
            return None;
        }
        let is_coming = |part: &Part| matches!(part.file, File::Coming(_));
        let at = self.first(|waiting| waiting.parts.iter().any(is_coming))?;
        let part = self.0.get_mut(at)?.parts.iter_mut().find(|part| is_coming(part))?;
        match std::mem::replace(&mut part.file, File::Loading) {
            File::Coming(id) => Some((part.number, id)),
            File::Loading | File::Here(_) => None,
        }
    }

    /// Takes a file that was fetched; `None`: it cannot be had.
    pub fn loaded(&mut self, number: i64, bytes: Option<Blob>) {
        let is_it = |part: &Part| part.number == number;
        let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.parts.iter().any(is_it)) else { return };
        let here: usize = waiting.parts.iter().map(|part| part.file.bytes()).sum();
        let bytes = bytes.filter(|bytes| here + bytes.len() <= PARTS_BYTES_MAX);
        if let Some(part) = waiting.parts.iter_mut().find(|part| is_it(part)) {
            part.file = File::Here(bytes);
        }
    }

    /// Gives up the files that are being fetched: their task ended without an answer.
    pub fn none_loaded(&mut self) {
        let parts = self.0.iter_mut().flat_map(|waiting| &mut waiting.parts);
        for part in parts.filter(|part| matches!(part.file, File::Loading)) {
            part.file = File::Here(None);
        }
    }

    /// The next message that is whole and the first of its chat, the number of its first update, and the writes that
    /// belong to its hand-over.
    pub fn next_whole(&mut self, own: &Own) -> Option<(i64, Reading, Vec<StateWrite>)> {
        let is_here = |part: &Part| matches!(part.file, File::Here(_));
        let at = self.first(|waiting| waiting.parts.iter().all(is_here))?;
        let Waiting { parts, .. } = self.0.remove(at)?;
        let mut state: Vec<StateWrite> =
            parts.iter().map(|part| StateWrite::forget(key(part.number))).collect();
        state.push(self.index());
        let number = parts.first()?.number;
        let reading = parts.into_iter().map(|part| part.read(own)).reduce(|mut whole, part| {
            if let (Reading::Message(whole, ..), Reading::Message(part, ..)) = (&mut whole, part) {
                map::join(whole, *part);
            }
            whole
        })?;
        Some((number, reading, state))
    }

    /// The first message that is the first of its chat, expects no more parts, and is as wanted.
    fn first(&self, wanted: impl Fn(&Waiting) -> bool) -> Option<usize> {
        let mut chats = HashSet::new();
        let may_go = |waiting: &Waiting| waiting.quiet_since.is_none() && wanted(waiting);
        self.0.iter().position(|waiting| chats.insert(&waiting.chat) && may_go(waiting))
    }

    fn index(&self) -> StateWrite {
        let parts = self.0.iter().flat_map(|waiting| &waiting.parts);
        let numbers: Vec<i64> = parts.map(|part| part.number).collect();
        StateWrite::set(INDEX, serde_json::to_string(&numbers).unwrap_or_default())
    }
}

impl Waiting {
    /// Whether this is the message's next part.
    fn takes(&self, piece: &Piece) -> bool {
        let follows = |open: &Piece| {
            open.of == piece.of && (0..=PARTS_APART_MAX).contains(&piece.date.saturating_sub(open.date))
        };
        self.parts.len() < PARTS_MAX && self.open.as_ref().is_some_and(follows)
    }
}

impl File {
    /// How many bytes of the message's files are here.
    fn bytes(&self) -> usize {
        match self {
            File::Here(Some(bytes)) => bytes.len(),
            File::Here(None) | File::Coming(_) | File::Loading => 0,
        }
    }
}

impl Part {
    fn read(self, own: &Own) -> Reading {
        let mut reading = map::read(&self.update, own);
        if let (Reading::Message(message, ..), File::Here(bytes)) = (&mut reading, self.file)
            && let Some(attachment) = message.attachments.first_mut()
        {
            attachment.bytes = bytes;
        }
        reading
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
    fn an_album_is_one_message_when_no_more_of_it_comes() {
        let part = |number: i64, chat: i64, album: &str, words: Option<&str>| {
            let mut update = update(number, chat, Some(&format!("f{number}")));
            update["message"]["text"] = Value::Null;
            update["message"]["caption"] = words.into();
            update["message"]["media_group_id"] = album.into();
            update
        };
        let mut held = Held::default();
        for (number, update) in [
            (1, part(1, 7, "a", None)),
            (2, update(2, 7, None)),
            (3, part(3, 8, "a", None)),
            (4, part(4, 7, "a", Some("look"))),
            (5, part(5, 7, "b", Some("alone"))),
        ] {
            let index = held.push(number, update, &own()).remove(1);
            assert_eq!(index.key, INDEX);
        }
        assert_eq!(held.index(), StateWrite::set(INDEX, "[1,4,2,3,5]"), "an album's parts stay together");
        let now = Instant::now();
        held.complete(now);
        assert!(held.expects_parts() && held.next_to_load().is_none() && numbers(&mut held).is_empty());
        held.expect_parts_from(now + PARTS_QUIET);
        held.complete(now + PARTS_QUIET);
        assert!(held.expects_parts(), "Telegram was not heard in between");
        held.complete(now + 2 * PARTS_QUIET);
        assert!(!held.expects_parts());
        // A part that comes late is still in time, as long as the files are not here.
        assert_eq!(held.next_to_load(), Some((1, "f1".into())));
        held.push(6, part(6, 7, "a", Some("and this")), &own());
        assert_eq!(held.next_to_load(), Some((3, "f3".into())), "of the other chat");
        held.expect_no_parts();
        assert_eq!(held.next_to_load(), Some((4, "f4".into())));
        assert_eq!(held.next_to_load(), Some((6, "f6".into())));
        for number in [6, 1, 4] {
            assert!(held.next_whole(&own()).is_none());
            held.loaded(number, Some(vec![number as u8].into()));
        }
        let (number, reading, writes) = held.next_whole(&own()).expect("it is whole");
        let Reading::Message(message, ..) = reading else { panic!("a message") };
        assert_eq!(
            (number, message.message_id.as_str(), message.text.as_str()),
            (1, "7:1", "look\nand this")
        );
        let files: Vec<_> = message.attachments.iter().map(|file| file.bytes.as_deref()).collect();
        assert_eq!(files, [Some(&[1][..]), Some(&[4]), Some(&[6])]);
        let forgotten = [1, 4, 6].map(|number| StateWrite::forget(key(number)));
        assert_eq!(writes, [&forgotten[..], &[StateWrite::set(INDEX, "[2,3,5]")]].concat());
        assert_eq!(numbers(&mut held), [2]);
    }

    #[test]
    fn a_text_that_was_cut_is_one_message() {
        let text = |number: i64, person: i64, date: i64, words: &str| {
            let mut update = update(number, 7, None);
            update["message"]["from"]["id"] = person.into();
            update["message"]["date"] = date.into();
            update["message"]["text"] = words.into();
            update
        };
        let (full, end_of_line) = ("a".repeat(4_096), "b".repeat(3_950));
        let long = format!("{full}{end_of_line}");
        let table = [
            (vec![(1, 1, "short"), (1, 1, "another")], vec!["short".to_owned(), "another".to_owned()]),
            (
                vec![(1, 1, &*full), (1, 2, "rest"), (1, 2, "more")],
                vec![format!("{full}rest"), "more".to_owned()],
            ),
            (vec![(1, 1, &*end_of_line), (1, 1, "rest")], vec![format!("{end_of_line}\nrest")]),
            (vec![(1, 1, &*full), (1, 1, &*end_of_line), (1, 1, "rest")], vec![format!("{long}\nrest")]),
            (
                vec![(1, 1, &*full), (2, 1, "of another person"), (1, 6, "rest")],
                vec![format!("{full}rest"), "of another person".to_owned()],
            ),
            (vec![(1, 1, &*full), (1, 7, "later")], vec![full.clone(), "later".to_owned()]),
        ];
        for (said, want) in table {
            let mut held = Held::default();
            for (number, (person, date, words)) in (1..).zip(said) {
                held.push(number, text(number, person, date, words), &own());
            }
            held.complete(Instant::now() + PARTS_QUIET);
            let heard: Vec<String> = std::iter::from_fn(|| held.next_whole(&own()))
                .map(|(_, reading, _)| match reading {
                    Reading::Message(message, ..) => message.text,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(heard, want);
        }
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
