//! The runtime's end of one plugin process: from its start to its end.

use super::conn::{Broken, Conn};
use super::listen::{Heard, listen};
use super::packet::{Kind, pack};
use super::spec::Spec;
use super::starter;
use crate::lock::locked;
use crate::plugins::{LoadCode, LoadError};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use vestibule_keeper::groups;
use vestibule_seam::{Frame, RuntimeCalls};
use vestibule_session::words;

/// How long a plugin may take to be opened and to start its machinery.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How much of the process's last output is kept, in bytes.
const LAST_WORDS_MAX: usize = 2 * 1024;
/// How often the group of a process that ends is tried to be removed, and how long between.
const REMOVE_ROUNDS: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(100);

/// The sentence about a plugin that does not become ready.
pub fn not_ready() -> LoadError {
    let words = format!(
        "it was not ready within {} s: opening it, or its `init`, does not return. Its author can say more.",
        OPEN_PATIENCE.as_secs()
    );
    LoadError::new(LoadCode::Init, words)
}

/// Why a process did not come to serve.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub enum StartError {
    /// It said why: trying again is no use.
    Refused(LoadError),
    /// It ended, or said nothing.
    Died(String),
}

impl From<StartError> for LoadError {
    fn from(error: StartError) -> LoadError {
        match error {
            StartError::Refused(why) => why,
            StartError::Died(why) => {
                let words =
                    format!("its process ended while the file was opened: {why}. Its author can say more.");
                LoadError::new(LoadCode::Crashed, words)
            }
        }
    }
}

/// One life of a plugin's process. Dropping it ends the process.
pub struct Life {
    /// Its calls, in both directions.
    pub conn: Arc<Conn>,
    child: Child,
    group: Option<PathBuf>,
    last_words: Arc<Mutex<Vec<u8>>>,
    ended: oneshot::Receiver<u64>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Life {
    fn drop(&mut self) {
        self.conn.close();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        if let (Some(group), Ok(threads)) = (self.group.take(), tokio::runtime::Handle::try_current()) {
            threads.spawn(remove(group));
        }
    }
}

/// Removes a group. The kernel refuses that until the process, which is killed as its handle is dropped, is gone; the
/// next start of the runtime removes what is left.
async fn remove(group: PathBuf) {
    for _ in 0..REMOVE_ROUNDS {
        if std::fs::remove_dir(&group).is_ok() {
            return;
        }
        tokio::time::sleep(REMOVE_PAUSE).await;
    }
}

/// The process of a plugin, for those who look at it from outside.
pub struct Process {
    /// Its number, until it has ended.
    pub pid: Option<u32>,
    /// Its control group, where the runtime was delegated one.
    pub group: Option<PathBuf>,
}

impl Life {
    /// Starts a process and has it open the plugin. `calls` is the runtime, as the plugin sees it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        program: &Path,
        spec: &Spec,
        calls: Arc<dyn RuntimeCalls>,
    ) -> Result<Life, StartError> {
        let failed = |error: std::io::Error| StartError::Died(format!("it cannot be started ({error})"));
        let spec = Spec { group: groups::of_next_plugin(), ..spec.clone() };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut command = Command::new(program);
        command.as_std_mut().env_clear();
        command
            .arg0("vestibule")
            .arg("plugin-host")
            .current_dir("/")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // The command goes with it: it holds the process's end of the socket.
        let mut child = starter::start(command).await.map_err(failed)?;
        let last_words: Arc<Mutex<Vec<u8>>> = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(keep_last(stderr, last_words.clone()));
        }
        let conn = Arc::new(Conn::new(UnixStream::from_std(ours).map_err(failed)?));
        let (opened_tx, opened) = oneshot::channel();
        let (ended_tx, ended) = oneshot::channel();
        let heard = Heard::new(calls, opened_tx, ended_tx);
        let (reader, flusher) = (conn.clone(), conn.clone());
        let reading = tokio::spawn(async move {
            let Err(why) = listen(&reader, heard).await;
            reader.end(why);
        });
        let flushing = tokio::spawn(async move { flusher.flush().await });
        let mut life =
            Life { conn, child, group: spec.group.clone(), last_words, ended, tasks: [reading, flushing] };
        let head = serde_json::to_vec(&spec).unwrap_or_default();
        match pack(Kind::Open, 0, 0, &Frame::from_head(head)) {
            Ok(packed) => life.conn.send(packed),
            Err(why) => return Err(StartError::Died(why)),
        }
        match tokio::time::timeout(OPEN_PATIENCE, opened).await {
            Ok(Ok(Ok(()))) => Ok(life),
            Ok(Ok(Err(why))) => Err(StartError::Refused(why)),
            Ok(Err(_)) => Err(StartError::Died(life.ended().await)),
            Err(_) => Err(StartError::Refused(not_ready())),
        }
    }

    /// The process as others see it.
    pub fn process(&self) -> Process {
        Process { pid: self.child.id(), group: self.group.clone() }
    }

    /// Returns when the process has ended, or must, and says why. Its calls are still open.
    pub async fn ended(&mut self) -> String {
        let ended = tokio::select! {
            status = self.child.wait() => status.ok(),
            why = self.conn.broken() => match why {
                Some(Broken::For(why)) => return self.with_last_words(why),
                // A socket that ends is the end of the process: how it ended says more.
                Some(Broken::Gone) | None => {
                    let ended = tokio::time::timeout(Duration::from_millis(500), self.child.wait()).await;
                    ended.ok().and_then(std::result::Result::ok)
                }
            },
        };
        self.with_last_words(ended.map_or_else(|| "it closed its socket".to_owned(), in_words))
    }

    fn with_last_words(&self, why: String) -> String {
        match last_line(&locked(&self.last_words)) {
            Some(line) => format!("{why}; the last it printed: {line}"),
            None => why,
        }
    }

    /// Ends the process now.
    pub async fn kill(&mut self) {
        self.conn.close();
        let _ = self.child.kill().await;
    }

    /// Asks the plugin to end within `patience`, and ends its process. Returns how many calls were left.
    pub async fn shutdown(&mut self, patience: Duration) -> u64 {
        let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        if let Ok(packed) = pack(Kind::Shutdown, ms, 0, &Frame::default()) {
            self.conn.send(packed);
        }
        let left = tokio::time::timeout(patience + Duration::from_millis(500), &mut self.ended).await;
        let left = left.ok().and_then(std::result::Result::ok);
        let left = left.unwrap_or_else(|| self.conn.open_calls() as u64);
        self.kill().await;
        left
    }
}

fn in_words(status: ExitStatus) -> String {
    let name = match status.signal() {
        Some(4) => "SIGILL, an invalid instruction",
        Some(5) => "SIGTRAP",
        Some(6) => "SIGABRT, it aborted: a failed allocation, or a panic that may not unwind",
        Some(7) => "SIGBUS, invalid memory access",
        Some(9) => "SIGKILL",
        Some(11) => "SIGSEGV, invalid memory access or a stack overflow",
        Some(25) => "SIGXFSZ",
        _ => "",
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(_)) if !name.is_empty() => format!("it crashed ({name})"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

async fn keep_last(mut stderr: ChildStderr, last: Arc<Mutex<Vec<u8>>>) {
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut part).await {
        let mut last = locked(&last);
        last.extend_from_slice(&part[..read]);
        let surplus = last.len().saturating_sub(LAST_WORDS_MAX);
        last.drain(..surplus);
    }
}

/// The last line that the process printed, made safe for a log.
fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(words::line(line, 300))
}
