//! The files of an arriving message: stored and synced before the commit that names them.

use super::decide::{Step, decide};
use super::snapshot::{Arrival, Snapshot};
use crate::attachments::{LeftOut, Store, StoredFile};
use crate::clock;
use crate::context::Context;
use crate::db::ReadTxn;
use crate::error::{Error, Result};
use vestibule_plugin_api::{Attachment, Blob};
use vestibule_session::{crash, name};

/// Stores the files of a message that an agent will get. Those of a message that no agent gets never reach the disk.
///
/// # Errors
/// The disk fails or is too full: the message is not taken, and comes again.
pub async fn store(context: &Context, mut arrival: Arrival) -> Result<Arrival> {
    let carried: Vec<(usize, Attachment, Blob)> = arrival
        .message
        .attachments
        .iter_mut()
        .enumerate()
        .filter_map(|(position, file)| file.bytes.take().map(|bytes| (position, file.clone(), bytes)))
        .collect();
    if carried.is_empty() || !is_heard(context, &arrival).await? {
        return Ok(arrival);
    }
    let store = context.attachments.clone();
    let stored = tokio::task::spawn_blocking(move || store_all(&store, &carried));
    arrival.files = stored.await.map_err(|_| Error::Stopping)??;
    Ok(arrival)
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

fn store_all(store: &Store, carried: &[(usize, Attachment, Blob)]) -> Result<Vec<StoredFile>> {
    let mut room = store.limits().message_bytes;
    let now = clock::now().0;
    let mut files: Vec<StoredFile> = Vec::new();
    for (position, file, bytes) in carried {
        let size_bytes = bytes.len() as u64;
        let blob = if size_bytes > room {
            Ok(Err(LeftOut("the files of one message are larger than `attachments_mb` allows".to_owned())))
        } else {
            room -= size_bytes;
            store.put(bytes).map(Ok)
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
            let carried: Vec<(usize, Attachment, Blob)> = sizes
                .iter()
                .enumerate()
                .map(|(at, size)| (at, file(*size).0, Blob::from(file(*size).1)))
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
