//! The runtime's end of a keeper's socket. Every frame is a stranger's.

use crate::error::{IoContext, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use vestibule_keeper::wire::{self, BATCH_ROWS_MAX, FromKeeper, LaunchSpec, ToKeeper};
use vestibule_session::{CONTENT_BYTES_MAX, FIELD_BYTES_MAX, MessageOut};

/// A keeper that takes no frame for this long hangs.
const SEND_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// One keeper. Dropping it ends it, and its runner with it.
pub struct Keeper {
    frames: mpsc::Receiver<FromKeeper>,
    to: OwnedWriteHalf,
    _child: Child,
}

impl Keeper {
    /// Starts a keeper and tells it what to keep.
    pub(super) async fn start(program: &Path, mut spec: LaunchSpec) -> Result<Keeper> {
        let (ours, theirs) = UnixStream::pair().context(|| "cannot make a socket for a keeper".into())?;
        let theirs = theirs.into_std().context(|| "cannot make a socket for a keeper".into())?;
        theirs.set_nonblocking(false).context(|| "cannot make a socket for a keeper".into())?;
        #[allow(clippy::disallowed_methods, reason = "this is the door")]
        let mut command = Command::new(program);
        command.as_std_mut().env_clear();
        if let Some(runner) = &mut spec.runner
            && let Some((name, value)) = vestibule_session::crash::hand_on()
        {
            command.env(&name, &value);
            runner.env.push((name, value));
        }
        let child = command
            .arg0("vestibule")
            .arg("keeper")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context(|| format!("cannot start a keeper with {}", program.display()))?;
        drop(command); // it holds the keeper's end of the socket
        let (from, to) = ours.into_split();
        let (heard, frames) = mpsc::channel(1);
        tokio::spawn(listen(from, heard));
        let mut keeper = Keeper { frames, to, _child: child };
        keeper.send(&ToKeeper::Launch(spec)).await?;
        Ok(keeper)
    }

    /// The next frame; `None` when the keeper has gone, or said something it must not.
    pub async fn frame(&mut self) -> Option<FromKeeper> {
        self.frames.recv().await
    }

    /// The last batch is on disk.
    ///
    /// # Errors
    /// The keeper has gone.
    pub async fn taken(&mut self) -> Result<()> {
        self.send(&ToKeeper::Taken).await
    }

    /// Asks it to end its runner, hand over what is left, and go.
    ///
    /// # Errors
    /// The keeper has gone.
    pub async fn stop(&mut self) -> Result<()> {
        self.send(&ToKeeper::Stop).await
    }

    async fn send(&mut self, frame: &ToKeeper) -> Result<()> {
        let bytes = wire::encode(frame).context(|| "a frame for a keeper is too large".into())?;
        let sent = tokio::time::timeout(SEND_PATIENCE, self.to.write_all(&bytes)).await;
        sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .context(|| "the keeper does not listen".into())
    }
}

/// Reads frames until the keeper goes or breaks a rule.
async fn listen(mut from: OwnedReadHalf, heard: mpsc::Sender<FromKeeper>) {
    loop {
        match receive(&mut from).await {
            Ok(Some(frame)) => {
                if heard.send(frame).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "a keeper broke a rule of its socket and is ended");
                return;
            }
        }
    }
}

async fn receive(from: &mut OwnedReadHalf) -> std::io::Result<Option<FromKeeper>> {
    let mut header = [0; 4];
    if from.read_exact(&mut header).await.is_err() {
        return Ok(None);
    }
    // Grows with what really comes, not with what a header claims.
    let len = wire::frame_len(header)?;
    let mut bytes = Vec::new();
    from.take(len as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < len {
        return Ok(None);
    }
    let frame = wire::decode(&bytes)?;
    match fault(&frame) {
        Some(why) => Err(std::io::Error::other(why)),
        None => Ok(Some(frame)),
    }
}

fn fault(frame: &FromKeeper) -> Option<String> {
    let FromKeeper::Batch { messages, acks } = frame else { return None };
    let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > FIELD_BYTES_MAX);
    let too_long = |m: &MessageOut| {
        [&m.in_reply_to, &m.deliver_after, &m.platform_id, &m.channel_type, &m.thread_id, &m.account]
            .into_iter()
            .any(long)
            || [&m.id, &m.kind, &m.timestamp].into_iter().any(|text| text.len() > FIELD_BYTES_MAX)
            || m.content.len() > CONTENT_BYTES_MAX
    };
    if messages.iter().any(too_long) || acks.iter().any(|ack| ack.message_id.len() > FIELD_BYTES_MAX) {
        return Some("a row is longer than any a keeper may hand over".to_owned());
    }
    let too_many = messages.len() > BATCH_ROWS_MAX || acks.len() > BATCH_ROWS_MAX;
    too_many.then(|| format!("a batch holds more than {BATCH_ROWS_MAX} rows"))
}
