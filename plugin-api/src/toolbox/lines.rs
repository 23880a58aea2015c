//! Lines of text over TCP, as a client sends and hears them: bounded, and each sent whole or not at all.

use crate::{Failure, PluginError, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long a connection may take to be made, and one line to be sent.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// What an account sends, in whichever connection there is at the time: as long as that is read.
pub struct Lines {
    platform: &'static str,
    /// Held while a line is sent.
    turn: tokio::sync::Mutex<()>,
    place: Arc<Mutex<Place>>,
}

/// The connection of now.
#[derive(Default)]
struct Place {
    /// How many connections there were: what belongs to an earlier one never comes back.
    number: u64,
    writer: Option<OwnedWriteHalf>,
}

impl Place {
    /// Ends the connection with this number, if it is still there.
    fn end(&mut self, number: u64) {
        if self.number == number {
            (self.number, self.writer) = (number + 1, None);
        }
    }
}

impl Lines {
    /// Without a connection yet; `platform` is its name in errors.
    pub fn new(platform: &'static str) -> Lines {
        Lines { platform, turn: tokio::sync::Mutex::default(), place: Arc::default() }
    }

    /// Connects to HOST:PORT. What is sent goes there from now on, and what comes, in lines of `bytes_max` bytes at most,
    /// is read from what this returns. When that is dropped, the connection ends.
    ///
    /// # Errors
    /// A failure of the network.
    pub async fn open(&self, address: &str, bytes_max: usize) -> Result<Reader> {
        let unreached =
            |why: &str| Failure::network(false).error(format!("{} cannot be reached: {why}", self.platform));
        let connected = timeout(OPEN_PATIENCE, TcpStream::connect(address)).await;
        let stream = connected.map_err(|_| unreached("it does not answer in time"))?;
        let (reader, writer) = stream.map_err(|error| unreached(&error.to_string()))?.into_split();
        let number = {
            let mut place = locked(&self.place);
            (place.number, place.writer) = (place.number + 1, Some(writer));
            place.number
        };
        let (reader, place) = (BufReader::new(reader), self.place.clone());
        Ok(Reader { platform: self.platform, reader, bytes_max, begun: Vec::new(), number, place })
    }

    /// Sends one line; its end is added.
    ///
    /// # Errors
    /// There is no connection, and the line was not sent; or it ended in the middle, and perhaps it was.
    pub async fn send(&self, line: &str) -> Result<()> {
        let _turn = self.turn.lock().await;
        let failed = |was_sent, why: &str| {
            Failure::network(was_sent).error(format!("{} cannot be written to: {why}", self.platform))
        };
        if line.contains(['\r', '\n']) {
            return Err(PluginError::refused("a line cannot hold the end of another"));
        }
        // Out of its place meanwhile: a call that is dropped in the middle of a line ends the connection with it, so that
        // the next line does not become the rest of this one.
        let (number, writer) = {
            let mut place = locked(&self.place);
            (place.number, place.writer.take())
        };
        let mut writer = writer.ok_or_else(|| failed(false, "there is no connection"))?;
        let bytes = format!("{line}\r\n");
        let sent = timeout(SEND_PATIENCE, writer.write_all(bytes.as_bytes())).await;
        sent.map_err(|_| failed(true, "it takes nothing any more"))?
            .map_err(|error| failed(true, &error.to_string()))?;
        let mut place = locked(&self.place);
        if place.number == number {
            place.writer = Some(writer);
        }
        Ok(())
    }
}

fn locked(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes in one connection.
pub struct Reader {
    platform: &'static str,
    reader: BufReader<OwnedReadHalf>,
    bytes_max: usize,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    number: u64,
    place: Arc<Mutex<Place>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        locked(&self.place).end(self.number);
    }
}

impl Reader {
    /// The next line, without its end. It may be dropped while it waits, and asked again. What is no UTF-8 is replaced.
    ///
    /// # Errors
    /// The connection has ended, a line is longer than fits, or none came for as long as `quiet`.
    pub async fn next(&mut self, quiet: Duration) -> Result<String> {
        let ended = |why: &str| Failure::network(false).error(format!("{} {why}", self.platform));
        let room = self.bytes_max.saturating_sub(self.begun.len()) as u64;
        let mut bounded = (&mut self.reader).take(room.max(1));
        match timeout(quiet, bounded.read_until(b'\n', &mut self.begun)).await {
            Err(_) => return Err(ended("said nothing any more")),
            Ok(Err(error)) => return Err(ended(&format!("ended the connection: {error}"))),
            Ok(Ok(_)) if self.begun.ends_with(b"\n") => {}
            Ok(Ok(_)) if self.begun.len() >= self.bytes_max => {
                return Err(ended("sent a line that is too long"));
            }
            Ok(Ok(_)) => return Err(ended("ended the connection")),
        }
        let line = std::mem::take(&mut self.begun);
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// The lines that a text becomes, each of `bytes_max` bytes at most, cut between words where it can be. Empty ones and
/// control characters are left out.
pub fn cut(text: &str, bytes_max: usize) -> Vec<String> {
    let (mut lines, most) = (Vec::new(), bytes_max.max(4));
    for line in text.lines() {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut rest = line.trim_end();
        while !rest.is_empty() {
            let reach = rest.floor_char_boundary(most);
            let word =
                rest[..reach].trim_start().rfind(' ').map(|at| at + reach - rest[..reach].trim_start().len());
            let (part, more) = rest.split_at(word.filter(|_| reach < rest.len()).unwrap_or(reach));
            lines.push(part.to_owned());
            rest = more.trim_start();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const QUIET: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn lines_go_both_ways_and_one_that_comes_in_pieces_is_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address").to_string();
        let lines = Lines::new("the desk");
        let absent = lines.send("hello").await.expect_err("there is none");
        assert!(matches!(absent, PluginError::Retry { in_doubt: false, .. }), "{absent:?}");
        let mut reader = lines.open(&at, 16).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut other = BufReader::new(stream);

        lines.send("hello").await.expect("sent");
        assert!(lines.send("two\nlines").await.is_err());
        let mut said = String::new();
        other.read_line(&mut said).await.expect("it came");
        assert_eq!(said, "hello\r\n");

        other.get_mut().write_all(b"good").await.expect("sent");
        let error = reader.next(QUIET).await.expect_err("there is no end of a line yet");
        assert_eq!(error.reason(), "the desk said nothing any more");
        other.get_mut().write_all(b" day\r\nb\xffd\n\n").await.expect("sent");
        for want in ["good day", "b\u{fffd}d", ""] {
            assert_eq!(reader.next(QUIET).await, Ok(want.to_owned()));
        }
        other.get_mut().write_all(b"0123456789abcdef0\n").await.expect("sent");
        let error = reader.next(QUIET).await.expect_err("it is too long");
        assert_eq!(error.reason(), "the desk sent a line that is too long");
        drop(other);
        // Nothing is sent into a connection that no task reads any more, and an old one's end ends no new one.
        let next = lines.open(&at, 16).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a connection");
        drop(reader);
        lines.send("hello").await.expect("sent");
        drop((stream, next));
        let absent = lines.send("hello").await.expect_err("there is none");
        assert!(matches!(absent, PluginError::Retry { in_doubt: false, .. }), "{absent:?}");
        let mut reader = lines.open(&at, 16).await.expect("it listens");
        drop(listener.accept().await);
        let error = reader.next(QUIET).await.expect_err("it has ended");
        assert_eq!(error.reason(), "the desk ended the connection");
        drop(listener);
        let error = lines.open(&at, 16).await.err().expect("no listener");
        assert!(error.reason().starts_with("the desk cannot be reached"), "{}", error.reason());
    }

    #[test]
    fn a_text_is_cut_into_lines_between_words() {
        for (text, want) in [
            ("", &[][..]),
            ("\n \r\n", &[]),
            ("one\n\ntwo\tand \n", &["one", "two and"]),
            ("12345678 1", &["12345678 1"]),
            ("12345678 12", &["12345678", "12"]),
            ("  indented by two", &["  indented", "by two"]),
            ("12345678901234", &["1234567890", "1234"]),
            ("          x", &["          ", "x"]),
            ("äöüäöü", &["äöüäö", "ü"]),
        ] {
            assert_eq!(cut(text, 10), want, "{text:?}");
        }
    }
}
