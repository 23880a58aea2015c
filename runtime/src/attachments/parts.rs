//! The files that a keeper hands over ahead of the batch whose rows they belong to. Every word of a frame is a
//! stranger's.

use super::{Incoming, LeftOut, Store, StoredFile};
use crate::error::{Error, Result};
use vestibule_keeper::wire::FileFrame;
use vestibule_plugin_api::ATTACHMENTS_MAX;
use vestibule_session::crash;

/// A file of a row, as a keeper handed it over.
#[derive(Debug, Clone)]
pub struct MessageFile {
    /// The row's id.
    pub message_id: String,
    /// The file itself.
    pub file: StoredFile,
}

/// The files that were handed over and that no commit names yet. They are removed when this is dropped.
pub struct Parts {
    store: Store,
    open: Option<(String, usize, Incoming)>,
    done: Vec<MessageFile>,
    room: u64,
}

impl Parts {
    /// No parts yet.
    pub fn new(store: Store) -> Parts {
        let room = store.limits().message_bytes;
        Parts { store, open: None, done: Vec::new(), room }
    }

    /// Takes a frame about a file, and the bytes that came with it, and writes to the disk.
    ///
    /// # Errors
    /// [`Error::Refused`]: the keeper broke a rule. Else the disk fails or is too full.
    pub fn hear(&mut self, frame: FileFrame, bytes: &[u8]) -> Result<()> {
        match frame {
            FileFrame::Part { message_id, position, name, last, .. } => {
                self.part((message_id, position, name), bytes, last)
            }
            FileFrame::LeftOut { message_id, position, name, reason } => {
                if let Some((_, _, void)) = self.open.take() {
                    self.store.discard([void.blob().to_owned()]);
                }
                self.finished(
                    message_id,
                    StoredFile { position, name, size_bytes: 0, blob: Err(LeftOut(reason)) },
                )
            }
        }
    }

    fn part(&mut self, of: (String, usize, String), bytes: &[u8], last: bool) -> Result<()> {
        let (message_id, position, name) = of;
        self.room = (self.room.checked_sub(bytes.len() as u64))
            .ok_or_else(|| Error::refused("a keeper handed over more than one message may hold"))?;
        let mut incoming = match self.open.take() {
            Some((id, at, incoming)) if id == message_id && at == position => incoming,
            None => self.store.begin(bytes.len() as u64)?,
            Some((_, _, void)) => {
                self.store.discard([void.blob().to_owned()]);
                return Err(Error::refused("a keeper mixed two files"));
            }
        };
        if let Err(error) = incoming.write(bytes) {
            self.store.discard([incoming.blob().to_owned()]);
            return Err(error);
        }
        if !last {
            self.open = Some((message_id, position, incoming));
            return Ok(());
        }
        crash::point("hand-over: a file is written, not synced");
        let (blob, size_bytes) = incoming.finish()?;
        self.finished(message_id, StoredFile { position, name, size_bytes, blob: Ok(blob) })
    }

    fn finished(&mut self, message_id: String, file: StoredFile) -> Result<()> {
        self.done.push(MessageFile { message_id, file });
        // The last one may stand for those beyond what one message may have.
        if self.done.len() > ATTACHMENTS_MAX + 1 {
            return Err(Error::refused("a keeper handed over more files than one message may have"));
        }
        Ok(())
    }

    /// The files that are complete, synced: the batch that they belong to has come.
    ///
    /// # Errors
    /// The disk fails.
    pub fn take(&mut self) -> Result<Vec<MessageFile>> {
        if self.done.iter().any(|file| file.file.blob.is_ok()) {
            self.store.sync()?;
        }
        self.room = self.store.limits().message_bytes;
        Ok(std::mem::take(&mut self.done))
    }

    /// Puts files back that were taken and came to be in no commit: they are taken again.
    pub fn put_back(&mut self, files: Vec<MessageFile>) {
        self.done = files;
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let done = self.done.drain(..).filter_map(|file| file.file.blob.ok());
        let open = self.open.take().map(|(_, _, incoming)| incoming.blob().to_owned());
        self.store.discard(done.chain(open));
    }
}
