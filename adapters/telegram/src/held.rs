//! Updates whose file is still coming. Each is kept with the runtime, in the commit that moves the cursor past it, and
//! handed over when its file is here. Later messages of the same chat wait behind it; other chats do not: where there is
//! no room for one more, or no place for one more file, a file that is still coming is given up, and its message goes on
//! without it.
//!
//! The parts of an album, or of a text that was too long for one message, become one message: they, too, wait, until no
//! further part comes.

mod waiting;

pub use waiting::Key;

use crate::map::{self, Own, Reading};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use vestibule_plugin_api::{Blob, PlatformId, Result, Runtime, STATE_VALUE_BYTES_MAX, StateWrite};
use waiting::{File, Part, State, Waiting};

/// The quiet time after which no further part is expected: parts come one right after the other.
pub const PARTS_QUIET: Duration = Duration::from_secs(1);
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

    /// Whether this update waits.
    pub fn holds(&self, number: i64) -> bool {
        self.0.iter().flat_map(|waiting| &waiting.parts).any(|part| part.number == number)
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
    /// Returns the files that are not to be fetched any longer.
    pub fn make_room(&mut self) -> Vec<Key> {
        let mut weights: HashMap<&PlatformId, usize> = HashMap::new();
        for waiting in &self.0 {
            *weights.entry(&waiting.chat).or_default() += waiting.weight();
        }
        let most = weights.values().max();
        let chat = self.0.iter().map(|waiting| &waiting.chat).find(|chat| weights.get(chat) == most);
        chat.cloned().map_or_else(Vec::new, |chat| self.give_up(&chat))
    }

    /// Gives up what the first message of this chat waits for, as [`Held::make_room`] does.
    pub fn give_up(&mut self, chat: &PlatformId) -> Vec<Key> {
        let first = self.0.iter_mut().find(|waiting| waiting.chat == *chat);
        first.map_or_else(Vec::new, |first| first.give_up("too much waits behind it"))
    }

    /// Gives up the file that has been coming longest, if that is long and another one waits for a place. Returns as
    /// [`Held::make_room`] does.
    pub fn make_place(&mut self, now: Instant) -> Vec<Key> {
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
        let (chat, attachments, ids) = match map::read(&update, own) {
            Reading::Message(message, _, ids) => (message.platform_id, message.attachments, ids),
            Reading::Changes(mut changes) => match changes.pop() {
                Some(change) => (change.platform_id, vec![], vec![]),
                None => return,
            },
            _ => return,
        };
        let piece = map::piece(&update);
        let mut same = self.0.iter_mut().filter(|waiting| waiting.chat == chat);
        let whole = piece.as_ref().and_then(|piece| same.find(|waiting| waiting.takes(piece)));
        let file = |(at, (attachment, id)): (usize, (_, String))| File::coming((number, at), attachment, id);
        let mut files: Vec<File> = attachments.iter().zip(ids).enumerate().map(file).collect();
        if whole.is_some() {
            // All parts of a message answer the same one, whose file came with the first.
            let quoted = files.iter_mut().zip(&attachments).filter(|(_, attachment)| attachment.quoted);
            quoted.for_each(|(file, _)| file.state = State::Here(None));
        }
        let part = Part { number, update, bytes, files };
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

    /// The next file to fetch, and the id by which that is done. Only those of the first message of each chat are
    /// fetched, and only if it is complete, so that no bytes lie here that cannot be handed over.
    pub fn next_to_load(&mut self, now: Instant) -> Option<(Key, String)> {
        let (at, size) = self.next().filter(|(_, size)| self.has_place(*size))?;
        let file = self.0.get_mut(at)?.files_mut().find(|file| file.is_coming())?;
        match std::mem::replace(&mut file.state, State::Loading { since: now, size }) {
            State::Coming { id, .. } => Some((file.key, id)),
            State::Loading { .. } | State::Here(_) => None,
        }
    }

    /// The message whose file is the next to be fetched, and the size of that.
    fn next(&self) -> Option<(usize, usize)> {
        let at = self.first(|waiting| waiting.next_size().is_some())?;
        Some((at, self.0.get(at)?.next_size()?))
    }

    /// Whether a file of this size may be fetched now. One always may.
    fn has_place(&self, size: usize) -> bool {
        let files = || self.0.iter().flat_map(Waiting::files);
        let loading = files().filter(|file| file.is_loading()).count();
        let bytes: usize = files().map(File::bytes).sum();
        loading == 0 || loading < LOADING_MAX && bytes + size <= FILES_BYTES_MAX
    }

    /// Takes a file that was fetched; `None`: it cannot be had.
    pub fn loaded(&mut self, key: Key, bytes: Option<Blob>) {
        let is_it = |file: &File| file.key == key && file.is_loading();
        let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.files().any(is_it)) else { return };
        let here: usize = waiting.files().filter(|file| !file.is_loading()).map(File::bytes).sum();
        let bytes = bytes.filter(|bytes| here + bytes.len() <= PARTS_BYTES_MAX);
        if let Some(file) = waiting.files_mut().find(|file| is_it(file)) {
            file.state = State::Here(bytes);
        }
    }

    /// Gives up the files that are being fetched: their task ended without an answer.
    pub fn none_loaded(&mut self) {
        let files = self.0.iter_mut().flat_map(Waiting::files_mut);
        files.filter(|file| file.is_loading()).for_each(|file| file.state = State::Here(None));
    }

    /// The next message that is whole and the first of its chat, the numbers of its updates, and the writes that belong to
    /// its hand-over.
    pub fn next_whole(&mut self, own: &Own) -> Option<(Vec<i64>, Reading, Vec<StateWrite>)> {
        let at = self.first(Waiting::is_here)?;
        let Waiting { parts, .. } = self.0.remove(at)?;
        let numbers: Vec<i64> = parts.iter().map(|part| part.number).collect();
        let mut state: Vec<StateWrite> =
            numbers.iter().map(|number| StateWrite::forget(key(*number))).collect();
        state.push(self.index());
        let reading = parts.into_iter().map(|part| part.read(own)).reduce(|mut whole, part| {
            if let (Reading::Message(whole, ..), Reading::Message(part, ..)) = (&mut whole, part) {
                map::join(whole, *part);
            }
            whole
        })?;
        Some((numbers, reading, state))
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

fn key(number: i64) -> String {
    format!("{INDEX}/{number}")
}

#[cfg(test)]
mod tests;
