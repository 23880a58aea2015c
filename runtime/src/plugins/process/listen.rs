//! What a plugin's process says: read within limits, and handed on.

use super::conn::{Broken, Conn};
use super::packet::{Decoder, Kind, Packet};
use super::socket::{PART, receive};
use crate::plugins::LoadError;
use rustix::net::RecvFlags;
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::sync::{Semaphore, oneshot};
use vestibule_seam::{Done, Frame, RuntimeCalls};
use vestibule_session::words;

/// How much of a plugin's events is on its way at once, in KiB; then its socket is not read.
const IN_FLIGHT_KIB: u32 = 256 * 1024;
/// What the smallest event counts, in KiB: so there are at most 512.
const EVENT_KIB_MIN: u32 = 512;
/// The longest sentence on why a file cannot be opened, in characters.
const WHY_CHARS_MAX: usize = 1_000;

/// The receivers of what a process says.
pub struct Heard {
    calls: Arc<dyn RuntimeCalls>,
    opened: Option<oneshot::Sender<Result<(), LoadError>>>,
    ended: Option<oneshot::Sender<u64>>,
}

impl Heard {
    /// `calls` takes its events; the others hear once that it is open, or why not, and that it ended,
    /// with how many calls left.
    pub fn new(
        calls: Arc<dyn RuntimeCalls>,
        opened: oneshot::Sender<Result<(), LoadError>>,
        ended: oneshot::Sender<u64>,
    ) -> Heard {
        Heard { calls, opened: Some(opened), ended: Some(ended) }
    }
}

/// Reads packets until the process goes or breaks a rule; then says so.
pub async fn listen(conn: &Arc<Conn>, mut heard: Heard) -> Result<std::convert::Infallible, Broken> {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_KIB as usize));
    let (mut decoder, mut part) = (Decoder::default(), vec![0; PART]);
    loop {
        conn.listens(true);
        let read = conn
            .stream
            .async_io(Interest::READABLE, || receive(&conn.stream, &mut part, RecvFlags::DONTWAIT));
        let read = read.await;
        conn.listens(false);
        let (read, files) = match read {
            Ok((0, _)) => return Err(Broken::Gone),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(Broken::Gone),
            Err(error) => return Err(Broken::For(format!("its socket failed: {error}"))),
        };
        decoder.feed(&part[..read], files)?;
        while let Some(packet) = decoder.next()? {
            hear(conn, &mut heard, &in_flight, packet).await?;
        }
    }
}

async fn hear(
    conn: &Arc<Conn>,
    heard: &mut Heard,
    in_flight: &Arc<Semaphore>,
    packet: Packet,
) -> Result<(), String> {
    let (id, code) = (packet.id, packet.status);
    match packet.kind {
        Kind::Answer => {
            if !conn.has_made(id) {
                return Err(format!("it answered call {id}, which the runtime did not make"));
            }
            // A call that was cancelled meanwhile, or answered before, has no entry any more.
            let done = conn.answered(id);
            let frame = frame_of(packet).await?;
            if let Some(done) = done {
                done.complete(code, frame);
            }
        }
        Kind::Call => {
            let kib = u32::try_from(packet.weight() / 1024).unwrap_or(u32::MAX);
            let weight = kib.clamp(EVENT_KIB_MIN, IN_FLIGHT_KIB);
            // Here a plugin that floods is made to wait: its socket is not read meanwhile.
            let Ok(room) = in_flight.clone().acquire_many_owned(weight).await else { return Ok(()) };
            let frame = frame_of(packet).await?;
            let conn = conn.clone();
            let answered = move |code, frame: Frame| {
                conn.answer(id, code, &frame);
                drop(room);
            };
            heard.calls.call(frame, Done::new(answered));
        }
        Kind::Log => {
            let line = String::from_utf8_lossy(&packet.head);
            heard.calls.log(code, &line);
        }
        Kind::Cancel => {} // what is committed stays committed
        Kind::Opened => {
            let Some(opened) = heard.opened.take() else { return Err("it was opened twice".to_owned()) };
            let _ = opened.send(outcome(&packet.head)?);
        }
        Kind::Ended => {
            if let Some(ended) = heard.ended.take() {
                let _ = ended.send(id);
            }
        }
        Kind::Open | Kind::Shutdown | Kind::Socket => {
            return Err("it said what only the runtime says".to_owned());
        }
    }
    Ok(())
}

/// How the opening of the file went: the process says why it was not opened, or `null`.
fn outcome(head: &[u8]) -> Result<Result<(), LoadError>, String> {
    let why: Option<LoadError> = serde_json::from_slice(head)
        .map_err(|error| format!("it does not say whether it opened the file: {error}"))?;
    let bounded = |LoadError { code, words }| LoadError::new(code, words::line(words, WHY_CHARS_MAX));
    Ok(why.map_or(Ok(()), |why| Err(bounded(why))))
}

/// Large memory files are copied aside: meanwhile this process's socket is not read, and no other plugin waits.
async fn frame_of(packet: Packet) -> Result<Frame, String> {
    if !packet.has_files() {
        return packet.into_frame();
    }
    let copied = tokio::task::spawn_blocking(move || packet.into_frame()).await;
    copied.map_err(|error| error.to_string())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::LoadCode;

    #[test]
    fn how_the_opening_went_is_a_code_or_a_broken_rule() {
        let code = |head: &str| outcome(head.as_bytes()).map(|opened| opened.map_err(|why| why.code));
        assert_eq!(code("null"), Ok(Ok(())));
        for (head, want) in [
            // Whatever status an `init` ends with, it is not that no process can be confined.
            (r#"{"code":"INIT","words":"its start failed with status 3."}"#, LoadCode::Init),
            (r#"{"code":"INIT","words":"it cannot be confined. [CONFINE]"}"#, LoadCode::Init),
            (r#"{"code":"CONFINE","words":""}"#, LoadCode::Confine),
        ] {
            assert_eq!(code(head), Ok(Err(want)), "{head}");
        }
        for head in ["", "7", "\"\"", r#"{"code":"FINE","words":""}"#, r#"{"words":"x"}"#] {
            assert!(code(head).is_err(), "{head}");
        }
        let long = format!(r#"{{"code":"INIT","words":"{}\n"}}"#, "x".repeat(2 * WHY_CHARS_MAX));
        let cut = outcome(long.as_bytes()).expect("it reads").expect_err("it failed");
        assert_eq!(cut.words.chars().count(), WHY_CHARS_MAX);
        assert!(!cut.words.contains('\n'));
    }
}
