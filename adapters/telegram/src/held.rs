//! Updates whose file is still coming. Each is kept with the runtime, in the commit that moves the cursor past it, and
//! handed over when its file is here. Later messages of the same chat wait behind it; other chats do not: where there is
//! no room for one more, or no place for one more file, a file that is still coming is given up, and its message goes on
//! without it.
//!
//! The parts of an album, or of a text that was too long for one message, become one message: they, too, wait, until no
//! further part comes.

use crate::api::FILE_BYTES_MAX;
use crate::map::{self, Own, Piece, Reading};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
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
/// The most bytes of the updates that wait, each counted with [`EACH_BYTES`] besides.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What an update counts besides its own bytes: at most 512 wait, for an account keeps 1,024 keys.
const EACH_BYTES: usize = 8 * 1024;
/// The most files that are fetched at once.
const LOADING_MAX: usize = 32;
/// The most bytes of files that are here or being fetched, by the sizes that Telegram names.
const FILES_BYTES_MAX: usize = 160 * 1024 * 1024;
/// A file that has been coming for so long gives its place up when another one waits for a place.
const PLACE_KEPT: Duration = Duration::from_secs(20);
/// When the operator is told that a message waits for its file.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// The file of an update that waits.
enum File {
    /// It is to be fetched, by this id.
    Coming { id: String, size: usize },
    /// It is being fetched.
    Loading { since: Instant, size: usize },
    /// It is here, or there is none, or it cannot be had.
    Here(Option<Blob>),
}

struct Part {
    number: i64,
    update: Value,
    /// How many bytes the update has.
    bytes: usize,
    file: File,
}

/// A message that waits: one update, or several parts.
struct Waiting {
    chat: PlatformId,
    since: Instant,
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
            let text = runtime.state_get(&key(number)).await?.unwrap_or_default();
            if let Ok(update) = serde_json::from_str(&text) {
                held.add(number, update, text.len(), own);
            }
        }
        Ok(held)
    }

    /// Whether a message of this chat waits.
    pub fn has(&self, chat: &PlatformId) -> bool {
        self.0.iter().any(|waiting| waiting.chat == *chat)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one more update, of so many bytes, can wait.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.iter().map(Waiting::weight).sum::<usize>() + bytes + EACH_BYTES <= HELD_BYTES_MAX
    }

    /// Whether an update, as text, is small enough to be kept.
    pub fn fits(text: &str) -> bool {
        text.len() <= STATE_VALUE_BYTES_MAX
    }

    /// Gives up what the first message of a chat waits for, in the chat that holds most: that one can go on then.
    /// Returns the updates whose files are not to be fetched any longer.
    pub fn make_room(&mut self) -> Vec<i64> {
        let mut weights: HashMap<&PlatformId, usize> = HashMap::new();
        for waiting in &self.0 {
            *weights.entry(&waiting.chat).or_default() += waiting.weight();
        }
        let most = weights.values().max();
        let chat = self.0.iter().map(|waiting| &waiting.chat).find(|chat| weights.get(chat) == most);
        chat.cloned().map_or_else(Vec::new, |chat| self.give_up(&chat))
    }

    /// Gives up what the first message of this chat waits for, as [`Held::make_room`] does.
    pub fn give_up(&mut self, chat: &PlatformId) -> Vec<i64> {
        let first = self.0.iter_mut().find(|waiting| waiting.chat == *chat);
        first.map_or_else(Vec::new, |first| first.give_up("too much waits behind it"))
    }

    /// Gives up the file that has been coming longest, if that is long and another one waits for a place. Returns as
    /// [`Held::make_room`] does.
    pub fn make_place(&mut self, now: Instant) -> Vec<i64> {
        if self.next().is_none_or(|(_, size)| self.has_place(size)) {
            return Vec::new();
        }
        let loading = self.0.iter_mut().filter_map(|waiting| Some((waiting.loading_since()?, waiting)));
        match loading.min_by_key(|(since, _)| *since) {
            Some((since, waiting)) if now.saturating_duration_since(since) >= PLACE_KEPT => {
                waiting.give_up("other files wait for its place")
            }
            _ => Vec::new(),
        }
    }

    /// What the operator is told of the chats in which a message has been waiting long for its file.
    pub fn delay(&self, now: Instant) -> Option<String> {
        let mut chats = HashSet::new();
        let first = self.0.iter().filter(|waiting| chats.insert(&waiting.chat));
        let is_long = |waiting: &&Waiting| now.saturating_duration_since(waiting.since) >= TOLD_AFTER;
        let mut late =
            first.filter(is_long).filter(|waiting| !waiting.is_here()).map(|waiting| &waiting.chat);
        let one = late.next()?;
        let chats = match late.count() {
            0 => format!("the chat {one}"),
            more => format!("{} chats ({one} and others)", more + 1),
        };
        let seconds = TOLD_AFTER.as_secs();
        Some(format!(
            "in {chats} messages have been waiting for a file from Telegram for more than {seconds} s"
        ))
    }

    /// Keeps one more update, whose text this is. Returns the writes that record it.
    pub fn push(&mut self, number: i64, update: Value, text: String, own: &Own) -> Vec<StateWrite> {
        self.add(number, update, text.len(), own);
        vec![StateWrite::set(key(number), text), self.index()]
    }

    /// Adds an update, if it is a message, or a change behind one: nothing else ever waits.
    fn add(&mut self, number: i64, update: Value, bytes: usize, own: &Own) {
        let (chat, size, file_id) = match map::read(&update, own) {
            Reading::Message(message, _, file_id) => {
                let size = message.attachments.first().and_then(|file| file.size_bytes);
                (message.platform_id, size, file_id)
            }
            Reading::Changes(mut changes) => match changes.pop() {
                Some(change) => (change.platform_id, Some(0), None),
                None => return,
            },
            _ => return,
        };
        let piece = map::piece(&update);
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(FILE_BYTES_MAX);
        let coming = |id| File::Coming { id, size: size.min(FILE_BYTES_MAX) };
        let part = Part { number, update, bytes, file: file_id.map_or(File::Here(None), coming) };
        let mut same = self.0.iter_mut().filter(|waiting| waiting.chat == chat);
        let whole = piece.as_ref().and_then(|piece| same.find(|waiting| waiting.takes(piece)));
        let open = piece.filter(|piece| piece.goes_on);
        let quiet_since = open.as_ref().map(|_| Instant::now());
        if let Some(whole) = whole {
            whole.parts.push(part);
            (whole.open, whole.quiet_since) = (open, quiet_since);
        } else {
            let since = Instant::now();
            self.0.push_back(Waiting { chat, since, parts: vec![part], open, quiet_since });
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

    /// The next file to fetch: the number of its update, and its id. Only those of the first message of each chat are
    /// fetched, and only if it is complete, so that no bytes lie here that cannot be handed over.
    pub fn next_to_load(&mut self, now: Instant) -> Option<(i64, String)> {
        let (at, size) = self.next().filter(|(_, size)| self.has_place(*size))?;
        let part = self.0.get_mut(at)?.parts.iter_mut().find(|part| part.file.is_coming())?;
        match std::mem::replace(&mut part.file, File::Loading { since: now, size }) {
            File::Coming { id, .. } => Some((part.number, id)),
            File::Loading { .. } | File::Here(_) => None,
        }
    }

    /// The message whose file is the next to be fetched, and the size of that.
    fn next(&self) -> Option<(usize, usize)> {
        let at = self.first(|waiting| waiting.next_size().is_some())?;
        Some((at, self.0.get(at)?.next_size()?))
    }

    /// Whether a file of this size may be fetched now. One always may.
    fn has_place(&self, size: usize) -> bool {
        let files = || self.0.iter().flat_map(|waiting| &waiting.parts).map(|part| &part.file);
        let loading = files().filter(|file| file.is_loading()).count();
        let bytes: usize = files().map(File::bytes).sum();
        loading == 0 || loading < LOADING_MAX && bytes + size <= FILES_BYTES_MAX
    }

    /// Takes a file that was fetched; `None`: it cannot be had.
    pub fn loaded(&mut self, number: i64, bytes: Option<Blob>) {
        let is_it = |part: &Part| part.number == number;
        let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.parts.iter().any(is_it)) else { return };
        let files = waiting.parts.iter().map(|part| &part.file).filter(|file| !file.is_loading());
        let here: usize = files.map(File::bytes).sum();
        let bytes = bytes.filter(|bytes| here + bytes.len() <= PARTS_BYTES_MAX);
        let part = waiting.parts.iter_mut().find(|part| is_it(part) && part.file.is_loading());
        if let Some(part) = part {
            part.file = File::Here(bytes);
        }
    }

    /// Gives up the files that are being fetched: their task ended without an answer.
    pub fn none_loaded(&mut self) {
        let parts = self.0.iter_mut().flat_map(|waiting| &mut waiting.parts);
        for part in parts.filter(|part| part.file.is_loading()) {
            part.file = File::Here(None);
        }
    }

    /// The next message that is whole and the first of its chat, the number of its first update, and the writes that
    /// belong to its hand-over.
    pub fn next_whole(&mut self, own: &Own) -> Option<(i64, Reading, Vec<StateWrite>)> {
        let at = self.first(Waiting::is_here)?;
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

    /// What it takes of the room for updates, in bytes.
    fn weight(&self) -> usize {
        self.parts.iter().map(|part| part.bytes + EACH_BYTES).sum()
    }

    /// Whether it waits for no file.
    fn is_here(&self) -> bool {
        self.parts.iter().all(|part| matches!(part.file, File::Here(_)))
    }

    /// The size of its next file, if that may be fetched beside its other ones.
    fn next_size(&self) -> Option<usize> {
        let size = self.parts.iter().find_map(|part| match part.file {
            File::Coming { size, .. } => Some(size),
            File::Loading { .. } | File::Here(_) => None,
        })?;
        let others = || self.parts.iter().map(|part| &part.file);
        let fits = others().map(File::bytes).sum::<usize>() + size <= PARTS_BYTES_MAX;
        (fits || !others().any(File::is_loading)).then_some(size)
    }

    /// Since when the first of its files has been coming.
    fn loading_since(&self) -> Option<Instant> {
        let since = |part: &Part| match part.file {
            File::Loading { since, .. } => Some(since),
            File::Coming { .. } | File::Here(_) => None,
        };
        self.parts.iter().filter_map(since).min()
    }

    /// Waits for no file and no part any longer. Returns the updates whose files are not here.
    fn give_up(&mut self, why: &str) -> Vec<i64> {
        self.quiet_since = None;
        let missing = self.parts.iter_mut().filter(|part| !matches!(part.file, File::Here(_)));
        let given_up: Vec<i64> = missing
            .map(|part| {
                part.file = File::Here(None);
                part.number
            })
            .collect();
        if !given_up.is_empty() {
            tracing::warn!(chat = %self.chat, files = given_up.len(), why, "files were given up");
        }
        given_up
    }
}

impl File {
    fn is_coming(&self) -> bool {
        matches!(self, File::Coming { .. })
    }

    fn is_loading(&self) -> bool {
        matches!(self, File::Loading { .. })
    }

    /// How many bytes of it are here, or will be at the end of its download.
    fn bytes(&self) -> usize {
        match self {
            File::Here(Some(bytes)) => bytes.len(),
            File::Loading { size, .. } => *size,
            File::Here(None) | File::Coming { .. } => 0,
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

    fn push(held: &mut Held, number: i64, update: Value) -> Vec<StateWrite> {
        let text = update.to_string();
        held.push(number, update, text, &own())
    }

    fn next_to_load(held: &mut Held) -> Option<(i64, String)> {
        held.next_to_load(Instant::now())
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
            push(&mut held, number, update(number, chat, file));
        }
        assert!(held.has(&"telegram:7".into()) && !held.has(&"telegram:9".into()));
        assert_eq!(numbers(&mut held), [0; 0], "nothing is whole");
        assert_eq!(next_to_load(&mut held), Some((1, "a".into())));
        assert_eq!(next_to_load(&mut held), Some((3, "b".into())));
        assert_eq!(next_to_load(&mut held), None, "one of each chat");
        held.loaded(3, Some(b"x".to_vec().into()));
        assert_eq!(numbers(&mut held), [3, 5]);
        held.loaded(1, None);
        assert_eq!(numbers(&mut held), [1, 2], "without its file, and what waited behind it");
        assert_eq!(next_to_load(&mut held), Some((4, "c".into())));
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
            let index = push(&mut held, number, update).remove(1);
            assert_eq!(index.key, INDEX);
        }
        assert_eq!(held.index(), StateWrite::set(INDEX, "[1,4,2,3,5]"), "an album's parts stay together");
        let now = Instant::now();
        held.complete(now);
        assert!(held.expects_parts() && next_to_load(&mut held).is_none() && numbers(&mut held).is_empty());
        held.expect_parts_from(now + PARTS_QUIET);
        held.complete(now + PARTS_QUIET);
        assert!(held.expects_parts(), "Telegram was not heard in between");
        held.complete(now + 2 * PARTS_QUIET);
        assert!(!held.expects_parts());
        // A part that comes late is still in time, as long as the files are not here.
        assert_eq!(next_to_load(&mut held), Some((1, "f1".into())));
        push(&mut held, 6, part(6, 7, "a", Some("and this")));
        assert_eq!(next_to_load(&mut held), Some((3, "f3".into())), "of the other chat");
        held.complete(Instant::now() + PARTS_QUIET);
        assert_eq!(next_to_load(&mut held), Some((4, "f4".into())));
        assert_eq!(next_to_load(&mut held), Some((6, "f6".into())));
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
        assert_eq!(message.also_event_ids, ["message/7/4/1", "message/7/6/1"]);
        let files: Vec<_> = message.attachments.iter().map(|file| file.bytes.as_deref()).collect();
        assert_eq!(files, [Some(&[1][..]), Some(&[4]), Some(&[6])]);
        let forgotten = [1, 4, 6].map(|number| StateWrite::forget(key(number)));
        assert_eq!(writes, [&forgotten[..], &[StateWrite::set(INDEX, "[2,3,5]")]].concat());
        assert_eq!(numbers(&mut held), [2]);
    }

    #[test]
    fn a_change_waits_behind_what_it_changes() {
        let mut held = Held::default();
        push(&mut held, 1, update(1, 7, Some("a")));
        let mut edited = update(2, 7, None);
        edited["edited_message"] = edited["message"].take();
        edited.as_object_mut().expect("an object").remove("message");
        push(&mut held, 2, edited);
        assert_eq!(next_to_load(&mut held), Some((1, "a".into())));
        assert_eq!(numbers(&mut held), [0; 0]);
        held.loaded(1, None);
        let readings: Vec<Reading> =
            std::iter::from_fn(|| held.next_whole(&own()).map(|(_, reading, _)| reading)).collect();
        assert!(matches!(readings[..], [Reading::Message(..), Reading::Changes(_)]), "{readings:?}");
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
                push(&mut held, number, text(number, person, date, words));
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
            push(&mut held, 1, first.clone()),
            [set("held/1", &first.to_string()), set("held", "[1]")]
        );
        push(&mut held, 2, update(2, 7, None));
        next_to_load(&mut held);
        held.loaded(1, Some(b"bytes".to_vec().into()));
        let (number, reading, writes) = held.next_whole(&own()).expect("it is whole");
        let Reading::Message(message, ..) = reading else { panic!("a message") };
        assert_eq!((number, message.attachments[0].bytes.as_deref()), (1, Some(&b"bytes"[..])));
        assert_eq!(writes, [StateWrite::forget("held/1"), set("held", "[2]")]);
        let mut large = update(1, 7, None);
        assert!(Held::fits(&large.to_string()));
        large["message"]["text"] = "x".repeat(STATE_VALUE_BYTES_MAX).into();
        assert!(!Held::fits(&large.to_string()));
    }

    #[test]
    fn the_chat_that_holds_most_goes_on_without_its_file_when_there_is_no_room() {
        let mut held = Held::default();
        push(&mut held, 1, update(1, 7, Some("a")));
        push(&mut held, 2, update(2, 8, Some("b")));
        assert_eq!(next_to_load(&mut held).map(|(number, _)| number), Some(1));
        let mut number = 2;
        while held.has_room(200) {
            number += 1;
            push(&mut held, number, update(number, 8, None));
        }
        assert!((400..512).contains(&number), "{number}");
        assert!(numbers(&mut held).is_empty());
        assert_eq!(held.make_room(), [2], "of the other chat, although that came first");
        assert_eq!(numbers(&mut held), (2..=number).collect::<Vec<_>>(), "all of it, in order");
        assert!(held.has_room(200) && held.has(&"telegram:7".into()));
        // Large ones are fewer.
        let mut large = update(0, 9, None);
        large["message"]["text"] = "x".repeat(60_000).into();
        push(&mut held, 3, update(3, 9, Some("c")));
        let many = (4..).take_while(|number| {
            push(&mut held, *number, large.clone());
            held.has_room(60_000)
        });
        assert!((50..70).contains(&many.count()));
        assert_eq!(held.make_room(), [3]);
        assert_eq!(held.give_up(&"telegram:7".into()), [1]);
        held.loaded(1, Some(b"late".to_vec().into()));
        let (_, reading, _) = held.next_whole(&own()).expect("it goes on");
        let Reading::Message(message, ..) = reading else { panic!("a message") };
        assert_eq!(message.attachments.len(), 1, "the agent sees that there was a file");
        assert_eq!(message.attachments[0].bytes, None);
        assert_eq!(Held::default().make_room(), [0; 0]);
    }

    #[test]
    fn files_have_places_and_one_that_comes_slowly_gives_its_own_up() {
        let now = Instant::now();
        let large = |number: i64| {
            let mut update = update(number, number, Some("x"));
            update["message"]["document"]["file_size"] = FILE_BYTES_MAX.into();
            update
        };
        let small = |number: i64| {
            let mut update = update(number, number, Some("x"));
            update["message"]["document"]["file_size"] = 1_000.into();
            update
        };
        let table: [(&dyn Fn(i64) -> Value, i64); 2] = [(&large, 8), (&small, 32)];
        for (file, places) in table {
            let mut held = Held::default();
            (1..=places + 2).for_each(|number| drop(push(&mut held, number, file(number))));
            let started = |held: &mut Held, now: Instant| {
                std::iter::from_fn(|| held.next_to_load(now).map(|(number, _)| number)).collect::<Vec<_>>()
            };
            assert_eq!(started(&mut held, now), (1..=places).collect::<Vec<_>>());
            let soon = now + PLACE_KEPT - Duration::from_millis(1);
            assert_eq!(held.make_place(soon), [0; 0]);
            assert_eq!(held.make_place(now + PLACE_KEPT), [1]);
            assert_eq!(numbers(&mut held), [1]);
            assert_eq!(started(&mut held, now + PLACE_KEPT), [places + 1]);
            held.loaded(2, None);
            held.loaded(3, None);
            assert_eq!(numbers(&mut held), [2, 3]);
            assert_eq!(started(&mut held, now + PLACE_KEPT), [places + 2]);
            assert_eq!(held.make_place(now + 9 * PLACE_KEPT), [0; 0], "no file waits for a place");
        }
    }

    #[test]
    fn the_operator_is_told_of_messages_that_wait_long() {
        let mut held = Held::default();
        push(&mut held, 1, update(1, 7, Some("a")));
        push(&mut held, 2, update(2, 7, None));
        let (now, late) = (Instant::now(), Instant::now() + TOLD_AFTER);
        assert_eq!(held.delay(now), None);
        assert!(held.delay(late).is_some_and(|words| words.contains("the chat telegram:7")));
        push(&mut held, 3, update(3, 8, Some("b")));
        let words = held.delay(late + TOLD_AFTER).expect("both wait");
        assert!(words.contains("2 chats (telegram:7 and others)"), "{words}");
        held.give_up(&"telegram:8".into());
        next_to_load(&mut held);
        held.loaded(1, None);
        assert_eq!(held.delay(late + TOLD_AFTER), None, "what is whole waits for nothing");
    }
}
