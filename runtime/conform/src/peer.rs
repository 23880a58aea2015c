//! A program in the place of a person on the platform. It makes the channel hand a message over: without one many a
//! channel has no chat to deliver to.

use crate::report::Outcome;
use crate::trial::{At, Trial};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long the peer's message may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two looks for the message.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Starts the peer, and waits for its first message.
pub async fn start(trial: &mut Trial, command: &str) {
    if !trial.live {
        return trial.skip("peer");
    }
    // The command replaces the shell, so that the trial ends the peer itself, not its shell.
    let shell = ["-c", &format!("exec {command}")];
    let started = Command::new("sh")
        .args(shell)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the peer cannot be started: {error}"));
    let outcome = match started {
        Ok(child) => {
            *trial.peer.get_mut() = Some(child);
            Ok(())
        }
        Err(why) => Err(why),
    };
    let meet = async |trial: &Trial| {
        outcome?;
        meet(trial).await
    };
    if trial.place.choice.has("peer") {
        trial.check("peer", meet).await;
    } else if let Err(why) = meet(trial).await {
        trial.fail_needed("peer", why);
    }
}

/// Waits for a message that the channel hands over since it was last started: the test messages go to where it came
/// from. Without a peer they go where the command line says.
///
/// # Errors
/// No message comes; a sentence that says why.
pub async fn meet(trial: &Trial) -> Result<Outcome, String> {
    let mut peer = trial.peer.lock().await;
    let Some(peer) = peer.as_mut() else { return Ok(Outcome::Skipped("there is no peer".into())) };
    let begin = Instant::now();
    let heard = loop {
        if let Some(message) = trial.runtime.messages().into_iter().skip(trial.heard_before_start()).last() {
            break message;
        }
        if begin.elapsed() > PATIENCE {
            return Err(no_message(peer));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    };
    let at = At { chat: heard.platform_id.0, thread: heard.thread_id.map(|thread| thread.0) };
    let place = format!("{} {}", at.chat, at.thread.as_deref().unwrap_or_default());
    *trial.at() = at;
    Ok(Outcome::Ok(format!(
        "its message came; the test messages go to where it was written: {}",
        place.trim()
    )))
}

fn no_message(peer: &mut Child) -> String {
    let seconds = PATIENCE.as_secs();
    let peer = match peer.try_wait() {
        Ok(Some(status)) => format!("the peer has ended ({status})"),
        Ok(None) | Err(_) => "the peer runs".to_owned(),
    };
    format!("{peer}, and the channel has handed over no message of it within {seconds} s")
}
