//! The runtime's end of a keeper's socket. Every frame is untrusted.

use super::orphans;
use super::starved::Starved;
use crate::error::{IoContext, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use vestibule_keeper::wire::{self, Frame, FromKeeper, LaunchSpec, ToKeeper};

/// A keeper that takes no frame for this long hangs.
const SEND_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// A frame, and the raw bytes that came with it.
pub type Heard<F = FromKeeper> = (F, Vec<u8>);
/// A keeper whose runtime has hung up must have gone after this.
const GONE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// One keeper. Dropping it ends it, and its runner with it.
pub struct Keeper<F = FromKeeper> {
    frames: mpsc::Receiver<Heard<F>>,
    to: OwnedWriteHalf,
    /// Held while its socket is open.
    listening: AbortHandle,
    child: Option<Child>,
    starved: Starved,
}

impl<F> Drop for Keeper<F> {
    fn drop(&mut self) {
        // Both halves of the socket go: the keeper's warden sees that, and ends everything. A keeper that does not,
        // because a signal stopped it, is killed, and its orphans with it.
        self.listening.abort();
        let Some(mut child) = self.child.take() else { return };
        let Ok(threads) = tokio::runtime::Handle::try_current() else { return };
        threads.spawn(async move {
            if tokio::time::timeout(GONE_PATIENCE, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
            orphans::look();
        });
    }
}

impl<F: Frame> Keeper<F> {
    /// Starts a keeper and tells it what to keep.
    pub(super) async fn start(program: &Path, mut first: ToKeeper) -> Result<Keeper<F>> {
        let (ours, theirs) = UnixStream::pair().context(|| "cannot make a socket for a keeper".into())?;
        let theirs = theirs.into_std().context(|| "cannot make a socket for a keeper".into())?;
        theirs.set_nonblocking(false).context(|| "cannot make a socket for a keeper".into())?;
        #[allow(clippy::disallowed_methods, reason = "keepers are started here only")]
        let mut command = Command::new(program);
        command.as_std_mut().env_clear();
        if let ToKeeper::Launch(LaunchSpec { runner: Some(runner), .. }) = &mut first
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
            .spawn()
            .context(|| format!("cannot start a keeper with {}", program.display()))?;
        drop(command); // it holds the keeper's end of the socket
        let (from, to) = ours.into_split();
        let (heard, frames) = mpsc::channel(1);
        let listening = tokio::spawn(listen(from, heard)).abort_handle();
        let starved = Starved::of(child.id());
        let mut keeper = Keeper { frames, to, listening, child: Some(child), starved };
        keeper.send(&first).await?;
        Ok(keeper)
    }

    /// The next frame; `None` when the keeper has gone, or said something it must not.
    pub async fn frame(&mut self) -> Option<Heard<F>> {
        self.frames.recv().await
    }

    /// The keeper was heard: how long it waited for a processor before counts no more.
    pub fn was_heard(&mut self) {
        self.starved.reset();
    }

    /// For how long, since it was last heard, it could run and got no processor.
    pub fn starved(&mut self) -> std::time::Duration {
        self.starved.look()
    }

    /// The last batch is on disk.
    ///
    /// # Errors
    /// The keeper has gone.
    pub async fn taken(&mut self) -> Result<()> {
        self.send(&ToKeeper::Taken).await
    }

    /// Asks it to end its runner, hand over what is left, and go. `suspicious`: the runner failed, and its file is
    /// checked whole.
    ///
    /// # Errors
    /// The keeper has gone.
    pub async fn stop(&mut self, suspicious: bool) -> Result<()> {
        self.send(&ToKeeper::Stop { suspicious }).await
    }

    async fn send(&mut self, frame: &ToKeeper) -> Result<()> {
        let bytes = wire::encode(frame).context(|| "a frame for a keeper is too large".into())?;
        let sent = tokio::time::timeout(SEND_PATIENCE, self.to.write_all(&bytes)).await;
        sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .context(|| "the keeper does not listen".into())
    }
}

/// Reads frames until the keeper goes or breaks a rule.
async fn listen<F: Frame>(mut from: OwnedReadHalf, heard: mpsc::Sender<Heard<F>>) {
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

async fn receive<F: Frame>(from: &mut OwnedReadHalf) -> std::io::Result<Option<Heard<F>>> {
    let mut header = [0; 4];
    if from.read_exact(&mut header).await.is_err() {
        return Ok(None);
    }
    // Grows with what really comes, not with what a header claims.
    let len = wire::frame_len(header)?;
    let Some(bytes) = exactly(from, len).await? else { return Ok(None) };
    let frame: F = wire::decode(&bytes)?;
    if let Some(why) = frame.fault() {
        return Err(std::io::Error::other(why));
    }
    Ok(exactly(from, frame.bytes_beside()).await?.map(|bytes| (frame, bytes)))
}

async fn exactly(from: &mut OwnedReadHalf, len: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(len as u64).read_to_end(&mut bytes).await?;
    Ok((bytes.len() == len).then_some(bytes))
}
