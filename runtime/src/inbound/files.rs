//! The files of an arriving message: stored and synced before the commit that names them.

use super::decide::{Step, decide};
use super::snapshot::{Arrival, Snapshot};
use crate::attachments::{LeftOut, Store, StoredFile};
use crate::clock;
use crate::context::Context;
use crate::db::ReadTxn;
use crate::error::{Error, Result};
use crate::plugins::{CallError, Link, Loaded};
use vestibule_plugin_api::{Attachment, Blob, PluginError};
use vestibule_session::{crash, name};

/// Why a file has no bytes that would be too many.
const TOO_LARGE: &str = "the files of one message are larger than `attachments_mb` allows";

/// Where the bytes of a file are.
enum Source {
    Here(Blob),
    /// With the channel, which loads the file by this reference.
    Named(String),
}

/// The bytes of a file, until they are on disk.
enum Held {
    Brought(Blob),
    Loaded(Loaded),
}

impl Held {
    fn bytes(&self) -> &[u8] {
        match self {
            Held::Brought(bytes) => bytes,
            Held::Loaded(loaded) => &loaded.bytes,
        }
    }
}

/// Stores the files of a message that an agent will get. Those of a message that no agent gets never reach the disk, and
/// are not loaded where the channel, whose `link` it is, only names them.
///
/// # Errors
/// The disk fails or is too full, or a file cannot be loaded now: the message is not taken, and comes again.
pub async fn store(context: &Context, link: &Link, mut arrival: Arrival) -> Result<Arrival> {
    let mut brought: Vec<(usize, Attachment, Source)> = Vec::new();
    for (position, file) in arrival.message.attachments.iter_mut().enumerate() {
        let bytes = file.bytes.take().map(Source::Here);
        let source = bytes.or(file.reference.take().map(Source::Named));
        brought.extend(source.map(|source| (position, file.clone(), source)));
    }
    if brought.is_empty() || !is_heard(context, &arrival).await? {
        return Ok(arrival);
    }
    let mut stored = Stored::new(context.attachments.clone());
    for (position, file, source) in brought {
        // Each is on its way to the disk before the next one is loaded: no more than one of a message is held.
        let bytes = match source {
            Source::Here(bytes) => Ok(Held::Brought(bytes)),
            Source::Named(reference) => {
                fetch(link, &arrival, &file, &reference, stored.room).await?.map(Held::Loaded)
            }
        };
        let put = tokio::task::spawn_blocking(move || {
            stored.put(position, &file, bytes.as_ref().map(Held::bytes).map_err(Clone::clone))?;
            Ok::<_, Error>(stored)
        });
        stored = put.await.map_err(|_| Error::Stopping)??;
    }
    arrival.files =
        tokio::task::spawn_blocking(move || stored.sync()).await.map_err(|_| Error::Stopping)??;
    Ok(arrival)
}

/// Has the channel load a file that it only named.
///
/// # Errors
/// It cannot be loaded now.
async fn fetch(
    link: &Link,
    arrival: &Arrival,
    file: &Attachment,
    reference: &str,
    bytes_max: u64,
) -> Result<std::result::Result<Loaded, LeftOut>> {
    if file.size_bytes.is_some_and(|bytes| bytes > bytes_max) {
        return Ok(Err(LeftOut(TOO_LARGE.to_owned())));
    }
    let (account, event_id) = (arrival.address.account.as_str(), arrival.message.event_id.as_str());
    match link.fetch(account, reference, bytes_max).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(CallError::Plugin(PluginError::Refused { reason }) | CallError::Unsupported(reason)) => {
            Ok(Err(LeftOut(reason)))
        }
        Err(error) if link.gives_a_load_up(account, event_id) => {
            tracing::warn!(plugin = link.manifest.name, account, %error, "a file could not be loaded; its message goes on without it");
            Ok(Err(LeftOut(format!("it could not be loaded: {error}"))))
        }
        Err(error) => Err(Error::NotYet(format!("a file of the message cannot be loaded: {error}"))),
    }
}

/// Whether an agent will get the message: a look ahead of the transaction that decides.
async fn is_heard(context: &Context, arrival: &Arrival) -> Result<bool> {
    let (limits, now) = (context.attachments.limits(), clock::now());
    let arrival = arrival.clone();
    let look = move |db: &ReadTxn| {
        let plan = decide(&Snapshot::load(db, &arrival, now)?, &arrival, limits, now);
        Ok(plan.iter().any(|step| matches!(step, Step::Post { .. })))
    };
    context.central.read(look).await
}

/// The files of one message on their way to the disk. What is dropped before all are there is discarded.
struct Stored {
    store: Store,
    files: Vec<StoredFile>,
    /// How many bytes more the files of the message may have.
    room: u64,
    now: i64,
}

impl Stored {
    fn new(store: Store) -> Stored {
        Stored { room: store.limits().message_bytes, store, files: Vec::new(), now: clock::now().0 }
    }

    fn put(
        &mut self,
        position: usize,
        file: &Attachment,
        bytes: std::result::Result<&[u8], LeftOut>,
    ) -> Result<()> {
        let size_bytes = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let blob = match bytes {
            Err(why) => Err(why),
            Ok(_) if size_bytes > self.room => Err(LeftOut(TOO_LARGE.to_owned())),
            Ok(bytes) => {
                self.room -= size_bytes;
                Ok(self.store.put(bytes)?)
            }
        };
        let name = name::file_name(&file.name, file.mime_type.as_deref(), file.kind.as_deref(), self.now);
        self.files.push(StoredFile { position, name, size_bytes, blob });
        Ok(())
    }

    fn sync(mut self) -> Result<Vec<StoredFile>> {
        crash::point("inbound: files are written, not synced");
        self.store.sync()?;
        crash::point("inbound: files are on disk, no commit names them");
        Ok(std::mem::take(&mut self.files))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.store.discard(blobs(&self.files));
    }
}

/// The blobs of the files that were stored.
pub fn blobs(files: &[StoredFile]) -> Vec<String> {
    files.iter().filter_map(|file| file.blob.clone().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachments::Limits;

    #[test]
    fn what_fits_the_limit_of_a_message_is_stored() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits { message_bytes: 10, session_bytes: 0, reserve_bytes: 0 };
        let store = Store::open(folder.path().to_owned(), limits).expect("it opens");
        for (sizes, want) in [
            (&[4, 6][..], "stored stored"),
            (&[10], "stored"),
            (&[11], "left out"),
            (&[4, 7, 6], "stored left out stored"),
            (&[5, 5, 1, 0], "stored stored left out stored"),
        ] {
            let file =
                |size: usize| (Attachment { name: "f".into(), ..Attachment::default() }, vec![7; size]);
            let mut stored = Stored::new(store.clone());
            for (at, size) in sizes.iter().enumerate() {
                let (file, bytes) = file(*size);
                stored.put(at, &file, Ok(&bytes)).expect("there is room");
            }
            let files = stored.sync().expect("there is room");
            let told: Vec<&str> =
                files.iter().map(|file| if file.blob.is_ok() { "stored" } else { "left out" }).collect();
            assert_eq!(told.join(" "), want, "{sizes:?}");
            let kept = blobs(&files);
            assert_eq!(kept.len(), want.matches("stored").count());
            for (file, size) in files.iter().zip(sizes) {
                let read = file.blob.as_ref().map(|blob| store.read(blob).expect("it is there").len());
                assert!(read.is_err() || read == Ok(*size) && file.size_bytes == *size as u64);
            }
            store.discard(kept);
        }
        // What is given up half-way leaves nothing.
        let mut half = Stored::new(store);
        half.put(0, &Attachment::default(), Ok(&[7; 3])).expect("there is room");
        drop(half);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
