//! The terminal of a person who is asked. What they type answers one question and no other: what was typed before it, and what
//! comes with the answer, is thrown away. So no rest of a pasted secret is shown, taken for another answer, or left to the shell.

use crate::print;
use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The longest secret.
const SECRET_BYTES_MAX: usize = 64 * 1024;
/// What is pasted comes in pieces. When none came for so long, that was the last.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long the pieces are thrown away at most.
const DISCARD_MAX: Duration = Duration::from_secs(2);
/// The exit code of a program that Ctrl-C ended, as a shell shows it.
const INTERRUPTED: i32 = 130;

/// How the terminal was before anything was asked.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// Nothing is shown that is typed between the questions, while a platform is asked.
pub struct Tty {
    file: File,
    _between: Changed,
}

impl Tty {
    /// The terminal that Vestibule was started at, whatever its input and output are.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> anyhow::Result<Tty> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let file = file.context("there is no terminal to ask at (/dev/tty)")?;
        if BEFORE.get().is_none() {
            let _ = BEFORE.set(termios::tcgetattr(&file)?);
            tokio::spawn(end_at_ctrl_c());
        }
        let between = Changed::begin(&file, |settings| settings.local_modes.remove(LocalModes::ECHO))?;
        Ok(Tty { file, _between: between })
    }

    pub fn say(&mut self, words: &str) -> anyhow::Result<()> {
        Ok(print::on(&mut self.file, format_args!("{words}\n"))?)
    }

    /// Asks for a line that is shown while it is typed.
    ///
    /// # Errors
    /// The person ends the input.
    pub fn line(&mut self, prompt: &str) -> anyhow::Result<String> {
        let _shown = Changed::begin(&self.file, |settings| settings.local_modes.insert(LocalModes::ECHO))?;
        print::on(&mut self.file, format_args!("{prompt}"))?;
        let (mut line, mut bytes) = (Vec::new(), [0; 4_096]);
        while !line.ends_with(b"\n") && line.len() < SECRET_BYTES_MAX {
            match self.file.read(&mut bytes)? {
                0 => bail!("the input ended"),
                count => line.extend_from_slice(&bytes[..count]),
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Asks for a line that is not shown; for a key in PEM, its lines up to the last.
    ///
    /// # Errors
    /// The person ends the input, or it is no secret.
    pub fn secret(&mut self, prompt: &str) -> anyhow::Result<String> {
        let hidden = Changed::begin(&self.file, key_by_key)?;
        print::on(&mut self.file, format_args!("{prompt}"))?;
        let typed = self.hidden_keys();
        self.discard();
        drop(hidden);
        print::on(&mut self.file, format_args!("\n"))?;
        let (how, keys) = typed?;
        match how {
            Taken::Interrupted => std::process::exit(INTERRUPTED),
            Taken::Ended => bail!("the input ended"),
            Taken::More | Taken::Answer => keys.into_answer(),
        }
    }

    fn hidden_keys(&mut self) -> anyhow::Result<(Taken, Keys)> {
        let (mut keys, mut bytes) = (Keys::default(), [0; 4_096]);
        loop {
            let count = self.file.read(&mut bytes)?;
            if count == 0 {
                return Ok((Taken::Ended, keys));
            }
            for byte in &bytes[..count] {
                match keys.take(*byte) {
                    Taken::More => {}
                    how => return Ok((how, keys)),
                }
            }
        }
    }

    /// Throws away what comes with an answer, while it is not shown.
    fn discard(&mut self) {
        let (begin, mut bytes) = (Instant::now(), [0; 4_096]);
        while begin.elapsed() < DISCARD_MAX
            && poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&QUIET)).is_ok_and(|ready| ready > 0)
            && self.file.read(&mut bytes).is_ok_and(|count| count > 0)
        {}
    }
}

/// Ends the program as Ctrl-C does, with the terminal as it was: a secret may be asked for just now.
async fn end_at_ctrl_c() {
    if tokio::signal::ctrl_c().await.is_ok() {
        if let (Ok(file), Some(before)) = (File::open("/dev/tty"), BEFORE.get()) {
            let _ = termios::tcsetattr(&file, OptionalActions::Flush, before);
        }
        eprintln!("");
        std::process::exit(INTERRUPTED);
    }
}

/// Nothing is shown of what is typed, and each key is handed over as it is.
fn key_by_key(settings: &mut Termios) {
    let shows = LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
    settings.local_modes.remove(shows);
    // A return and a line feed are told apart: of a pasted file they come as a pair.
    settings.input_modes.remove(InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR);
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
}

/// As long as this lives, the terminal has other settings. What was typed before, and is not read at the end, is thrown away.
struct Changed {
    file: File,
    before: Termios,
}

impl Changed {
    fn begin(file: &File, change: impl FnOnce(&mut Termios)) -> anyhow::Result<Changed> {
        let before = termios::tcgetattr(file)?;
        let mut settings = before.clone();
        change(&mut settings);
        termios::tcsetattr(file, OptionalActions::Flush, &settings)?;
        Ok(Changed { file: file.try_clone()?, before })
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}

/// What a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    More,
    /// It was the answer's last.
    Answer,
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D where nothing was typed.
    Ended,
}

/// Where in a sequence of control characters, such as an arrow key's, a byte is.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    Outside,
    Begun,
    Within,
}

/// The keys of a hidden answer, and what they come to. Pure.
#[derive(Default)]
struct Keys {
    text: Vec<u8>,
    escape: Escape,
    after_return: bool,
    is_too_long: bool,
}

impl Keys {
    fn take(&mut self, byte: u8) -> Taken {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match (std::mem::take(&mut self.escape), byte) {
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Within,
            (Escape::Within, b'@'..=b'~') => {}
            (Escape::Within, b' '..=b'?') => self.escape = Escape::Within,
            (_, b'\n') if after_return => {}
            (_, b'\r' | b'\n') => return self.line_ends(),
            (_, 0x03) => return Taken::Interrupted,
            (_, 0x04) if self.text.is_empty() => return Taken::Ended,
            (_, 0x08 | 0x7f) => self.take_back(),
            (_, 0x15) => self.text.clear(),
            (_, 0x1b) => self.escape = Escape::Begun,
            (_, 0x00..=0x1f) => {}
            _ => self.push(byte),
        }
        Taken::More
    }

    fn push(&mut self, byte: u8) {
        match self.text.len() < SECRET_BYTES_MAX {
            true => self.text.push(byte),
            false => self.is_too_long = true,
        }
    }

    /// Takes the last character back, of one or more bytes.
    fn take_back(&mut self) {
        while self.text.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
    }

    /// A key in PEM goes on up to the line that ends it.
    fn line_ends(&mut self) -> Taken {
        let text = String::from_utf8_lossy(&self.text);
        let last = text.lines().next_back().unwrap_or_default();
        if !text.trim_start().starts_with("-----BEGIN ") || last.contains("-----END ") {
            return Taken::Answer;
        }
        // Some terminals paste each end of a line twice. Of an empty line only the one below a PEM's headers matters.
        if !text.ends_with('\n') || last.contains(':') {
            self.push(b'\n');
        }
        Taken::More
    }

    fn into_answer(self) -> anyhow::Result<String> {
        if self.is_too_long {
            bail!(
                "that is longer than {SECRET_BYTES_MAX} bytes: keep it in a file, and give --set KEY=file:PATH"
            );
        }
        String::from_utf8(self.text).ok().context("what was typed is no UTF-8: copy it again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these bytes come to, and how many of them are taken.
    fn typed(bytes: &[u8]) -> (Taken, String, usize) {
        let mut keys = Keys::default();
        for (at, byte) in bytes.iter().enumerate() {
            let how = keys.take(*byte);
            if how != Taken::More {
                return (how, String::from_utf8_lossy(&keys.text).into_owned(), at + 1);
            }
        }
        (Taken::More, String::from_utf8_lossy(&keys.text).into_owned(), bytes.len())
    }

    #[test]
    fn one_line_is_one_answer() {
        for (bytes, text) in [
            (&b"xoxb-1\r"[..], "xoxb-1"),
            (b"xoxb-1\n", "xoxb-1"),
            (b"ab\x7fc\r", "ac"),
            ("a\u{e9}\u{7f}b\r".as_bytes(), "ab"),
            (b"wrong\x15right\r", "right"),
            (b"\x1b[200~xoxb-1\x1b[201~\r", "xoxb-1"),
            (b"a\x1b[Db\x1bOCc\x07\r", "abc"),
            (b"a\x1b\r", "a"),
            (b"a\x04b\r", "ab"),
            (b"\r", ""),
        ] {
            assert_eq!(typed(bytes), (Taken::Answer, text.to_owned(), bytes.len()), "{bytes:?}");
        }
        assert_eq!(typed(b"one\rtwo\r"), (Taken::Answer, "one".into(), 4));
        assert_eq!(typed(b"one\x03").0, Taken::Interrupted);
        assert_eq!(typed(b"\x04").0, Taken::Ended);
        assert_eq!(typed(b"one").0, Taken::More);
    }

    #[test]
    fn a_key_in_pem_is_one_answer_however_its_lines_end() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----";
        for end in ["\n", "\r", "\r\n", "\r\r", "\n\n"] {
            let pasted = format!("{}{end}", pem.replace('\n', end));
            let (how, text, _) = typed(pasted.as_bytes());
            assert_eq!((how, text.as_str()), (Taken::Answer, pem), "{end:?}");
        }
        let locked = "-----BEGIN X-----\nProc-Type: 4\nDEK-Info: A\n\nMIIE\n-----END X-----";
        assert_eq!(typed(format!("{locked}\n").as_bytes()).1, locked);
        assert_eq!(typed(b"-----BEGIN X-----\nMIIE\n").0, Taken::More);
        assert_eq!(typed(b"-----BEGIN X-----\\nMIIE\\n-----END X-----\n").0, Taken::Answer);
    }

    #[test]
    fn no_answer_grows_without_end() {
        let mut keys = Keys::default();
        let endless = std::iter::repeat_n(&b'a', SECRET_BYTES_MAX);
        assert!(b"-----BEGIN X-----\n".iter().chain(endless).all(|byte| keys.take(*byte) == Taken::More));
        assert_eq!(keys.text.len(), SECRET_BYTES_MAX);
        assert_eq!(keys.take(0x03), Taken::Interrupted);
        assert!(keys.into_answer().is_err_and(|why| why.to_string().contains("file:PATH")));
    }
}
