//! The files of an arriving message: stored and synced before the commit that names them.

use super::decide::{Step, decide};
use super::snapshot::{Arrival, Snapshot};
use crate::attachments::{LeftOut, Store, StoredFile};
use crate::clock;
use crate::context::Context;
use crate::db::ReadTxn;
use crate::error::{Error, Result};
use crate::plugins::CallError;
use vestibule_plugin_api::{Attachment, Blob, PluginError};
use vestibule_session::{crash, name};

/// Why a file has no bytes that would be too many.
const TOO_LARGE: &str = "the files of one message are larger than `attachments_mb` allows";

/// A file of a message: its place there, what is said of it, and its bytes.
type Carried = (usize, Attachment, std::result::Result<Blob, LeftOut>);

/// Stores the files of a message that an agent will get. Those of a message that no agent gets never reach the disk, and
/// are not loaded where the channel only names them.
///
/// # Errors
/// The disk fails or is too full, or a file cannot be loaded now: the message is not taken, and comes again.
pub async fn store(context: &Context, mut arrival: Arrival) -> Result<Arrival> {
    let mut carried: Vec<Carried> = Vec::new();
    let mut named = Vec::new();
    for (position, file) in arrival.message.attachments.iter_mut().enumerate() {
        match (file.bytes.take(), file.reference.take()) {
            (Some(bytes), _) => carried.push((position, file.clone(), Ok(bytes))),
            (None, Some(reference)) => named.push((position, file.clone(), reference)),
            (None, None) => {}
        }
    }
    if (carried.is_empty() && named.is_empty()) || !is_heard(context, &arrival).await? {
        return Ok(arrival);
    }
    let room = context.attachments.limits().message_bytes;
    let bytes_of = |one: &Carried| one.2.as_ref().map_or(0, |bytes| bytes.len() as u64);
    for (position, file, reference) in named {
        let left = room.saturating_sub(carried.iter().map(bytes_of).sum());
        let bytes = fetch(context, &arrival, &file, &reference, left).await?;
        carried.push((position, file, bytes));
    }
    carried.sort_by_key(|(position, ..)| *position);
    let store = context.attachments.clone();
    let stored = tokio::task::spawn_blocking(move || store_all(&store, &carried));
    arrival.files = stored.await.map_err(|_| Error::Stopping)??;
    Ok(arrival)
}

/// Has the channel load a file that it only named.
///
/// # Errors
/// It cannot be loaded now.
async fn fetch(
    context: &Context,
    arrival: &Arrival,
    file: &Attachment,
    reference: &str,
    bytes_max: u64,
) -> Result<std::result::Result<Blob, LeftOut>> {
    if file.size_bytes.is_some_and(|bytes| bytes > bytes_max) {
        return Ok(Err(LeftOut(TOO_LARGE.to_owned())));
    }
    let (channel, account) = (arrival.address.channel_type.as_str(), arrival.address.account.as_str());
    let link = context.plugins.registry.live(channel, account);
    let link = link.ok_or_else(|| Error::NotYet("the account is not live".to_owned()))?;
    match link.fetch(account, reference, bytes_max).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(CallError::Plugin(PluginError::Refused { reason }) | CallError::Unsupported(reason)) => {
            Ok(Err(LeftOut(reason)))
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

fn store_all(store: &Store, carried: &[Carried]) -> Result<Vec<StoredFile>> {
    let mut room = store.limits().message_bytes;
    let now = clock::now().0;
    let mut files: Vec<StoredFile> = Vec::new();
    for (position, file, bytes) in carried {
        let size_bytes = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let blob = match bytes {
            Err(why) => Ok(Err(why.clone())),
            Ok(_) if size_bytes > room => Ok(Err(LeftOut(TOO_LARGE.to_owned()))),
            Ok(bytes) => {
                room -= size_bytes;
                store.put(bytes).map(Ok)
            }
        };
        let blob = match blob {
            Ok(blob) => blob,
            Err(error) => {
                store.discard(blobs(&files));
                return Err(error);
            }
        };
        let name = name::file_name(&file.name, file.mime_type.as_deref(), file.kind.as_deref(), now);
        files.push(StoredFile { position: *position, name, size_bytes, blob });
    }
    crash::point("inbound: files are written, not synced");
    store.sync()?;
    crash::point("inbound: files are on disk, no commit names them");
    Ok(files)
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
            let carried: Vec<Carried> = sizes
                .iter()
                .enumerate()
                .map(|(at, size)| (at, file(*size).0, Ok(Blob::from(file(*size).1))))
                .collect();
            let files = store_all(&store, &carried).expect("there is room");
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
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
