//! One message that waits: its parts, and the files of each.

use super::{EACH_BYTES, PARTS_BYTES_MAX};
use crate::api::FILE_BYTES_MAX;
use crate::map::{self, Own, Piece, Reading};
use serde_json::Value;
use tokio::time::Instant;
use vestibule_plugin_api::{Attachment, Blob, PlatformId};

/// The most seconds between the times at which two parts were written.
const PARTS_APART_MAX: i64 = 5;
/// The most parts of one message. Telegram puts no more into an album; a longer text becomes several messages.
const PARTS_MAX: usize = 10;

/// Names a file: the number of its update, and its place among the files of that.
pub type Key = (i64, usize);

/// A file of an update that waits.
pub struct File {
    /// Its name among all that are fetched.
    pub key: Key,
    /// How far it is.
    pub state: State,
}

/// How far a file is.
pub enum State {
    /// It is to be fetched, by this id.
    Coming { id: String, size: usize },
    /// It is being fetched.
    Loading { since: Instant, size: usize },
    /// It is here, or it cannot be had.
    Here(Option<Blob>),
}

/// One update.
pub struct Part {
    /// Its number.
    pub number: i64,
    /// The update itself.
    pub update: Value,
    /// How many bytes the update has.
    pub bytes: usize,
    /// The files that it names.
    pub files: Vec<File>,
}

/// A message that waits: one update, or several parts.
pub struct Waiting {
    /// Where it was written.
    pub chat: PlatformId,
    /// Since when it waits.
    pub since: Instant,
    /// Its updates.
    pub parts: Vec<Part>,
    /// What the last part belongs to, if another part may follow.
    pub open: Option<Piece>,
    /// Since when no part came; nothing once no more is expected.
    pub quiet_since: Option<Instant>,
}

impl Waiting {
    /// Whether this is the message's next part.
    pub fn takes(&self, piece: &Piece) -> bool {
        let follows = |open: &Piece| {
            open.of == piece.of && (0..=PARTS_APART_MAX).contains(&piece.date.saturating_sub(open.date))
        };
        self.parts.len() < PARTS_MAX && self.open.as_ref().is_some_and(follows)
    }

    /// What it takes of the room for updates, in bytes.
    pub fn weight(&self) -> usize {
        self.parts.iter().map(|part| part.bytes + EACH_BYTES).sum()
    }

    /// All its files.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.parts.iter().flat_map(|part| &part.files)
    }

    /// The same, to be changed.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut File> {
        self.parts.iter_mut().flat_map(|part| &mut part.files)
    }

    /// Whether it waits for no file.
    pub fn is_here(&self) -> bool {
        self.files().all(File::is_here)
    }

    /// The size of its next file, if that may be fetched beside its other ones.
    pub fn next_size(&self) -> Option<usize> {
        let size = self.files().find_map(|file| match file.state {
            State::Coming { size, .. } => Some(size),
            State::Loading { .. } | State::Here(_) => None,
        })?;
        let fits = self.files().map(File::bytes).sum::<usize>() + size <= PARTS_BYTES_MAX;
        (fits || !self.files().any(File::is_loading)).then_some(size)
    }

    /// Since when the first of its files has been coming.
    pub fn loading_since(&self) -> Option<Instant> {
        let since = |file: &File| match file.state {
            State::Loading { since, .. } => Some(since),
            State::Coming { .. } | State::Here(_) => None,
        };
        self.files().filter_map(since).min()
    }

    /// Waits for no file and no part any longer. Returns the files that are not here.
    pub fn give_up(&mut self, why: &str) -> Vec<Key> {
        self.quiet_since = None;
        let missing = self.files_mut().filter(|file| !file.is_here());
        let given_up: Vec<Key> = missing
            .map(|file| {
                file.state = State::Here(None);
                file.key
            })
            .collect();
        if !given_up.is_empty() {
            tracing::warn!(chat = %self.chat, files = given_up.len(), why, "files were given up");
        }
        given_up
    }
}

impl File {
    /// A file that is to be fetched by this id.
    pub fn coming(key: Key, attachment: &Attachment, id: String) -> File {
        let size = attachment.size_bytes.and_then(|size| usize::try_from(size).ok());
        let size = size.unwrap_or(FILE_BYTES_MAX).min(FILE_BYTES_MAX);
        File { key, state: State::Coming { id, size } }
    }

    /// Whether it is to be fetched.
    pub fn is_coming(&self) -> bool {
        matches!(self.state, State::Coming { .. })
    }

    /// Whether it is being fetched.
    pub fn is_loading(&self) -> bool {
        matches!(self.state, State::Loading { .. })
    }

    /// Whether it is waited for no longer.
    pub fn is_here(&self) -> bool {
        matches!(self.state, State::Here(_))
    }

    /// How many bytes of it are here, or will be at the end of its download.
    pub fn bytes(&self) -> usize {
        match &self.state {
            State::Here(Some(bytes)) => bytes.len(),
            State::Loading { size, .. } => *size,
            State::Here(None) | State::Coming { .. } => 0,
        }
    }
}

impl Part {
    /// The update as it is read, with its files.
    pub fn read(self, own: &Own) -> Reading {
        let mut reading = map::read(&self.update, own);
        if let Reading::Message(message, ..) = &mut reading {
            for (attachment, file) in message.attachments.iter_mut().zip(self.files) {
                if let State::Here(bytes) = file.state {
                    attachment.bytes = bytes;
                }
            }
        }
        reading
    }
}
