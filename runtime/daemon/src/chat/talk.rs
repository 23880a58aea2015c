//! `vestibule chat` without a text: lines in, replies out, until standard input ends. Neither end waits for the
//! other: standard input is read, the runtime is heard and standard output is written each in its own time.

use super::follow::{Outcome, Whole, follow, whole};
use super::{Ears, Terminal, late, parsed};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use vestibule_plugin_api::TEXT_BYTES_MAX;
use vestibule_runtime::Home;

/// After this long without a line `chat` expects no further part of an answer.
const QUIET: Duration = Duration::from_millis(300);

/// Keeps talking until standard input ends and all is answered, or nothing has come for `patience` since.
pub async fn talk(home: &Home, terminal: Terminal, patience: Duration) -> anyhow::Result<()> {
    let person = std::io::stdin().is_terminal();
    let (screen, writer) = Screen::open(person);
    if person {
        screen.out("Talk to the agent; Ctrl-D ends.");
    }
    screen.say(Said::Prompt);
    let Terminal { ears, to } = terminal;
    let outcome = Talk::new(home, ears, &screen, person).go_on(to, patience).await;
    // The last lines are still shown.
    screen.say(Said::End);
    let _ = tokio::task::spawn_blocking(|| writer.join()).await;
    match outcome? {
        0 => Ok(()),
        _ if person => Ok(()),
        failed => bail!("{failed} of the lines were refused, or have no reply for a reason given above"),
    }
}

/// A conversation.
struct Talk<'a> {
    home: &'a Home,
    ears: Ears,
    screen: &'a Screen,
    /// Whether a person writes, who sees which line is meant.
    person: bool,
    /// The lines that were sent and are neither taken nor refused yet, by number, in order.
    sent: Sent,
    /// Messages that wait for a reply, with the numbers of their lines, the oldest first.
    asked: VecDeque<(String, usize)>,
    /// The question to the runtime about the oldest of them.
    following: Option<Following>,
    /// The message that was answered last, and how many replies were heard since.
    last: Option<(String, usize)>,
    /// At the end of a pipe: the question to the runtime whether that message has more replies.
    ending: Option<Pin<Box<dyn Future<Output = Option<Whole>> + Send>>>,
    /// How many lines went wrong.
    failed: usize,
    /// Why the last one has no reply: to a pipe the same reason is told once.
    told: String,
}

type Sent = Arc<Mutex<VecDeque<usize>>>;

struct Following {
    id: String,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl<'a> Talk<'a> {
    fn new(home: &'a Home, ears: Ears, screen: &'a Screen, person: bool) -> Talk<'a> {
        Talk {
            home,
            ears,
            screen,
            person,
            sent: Arc::default(),
            asked: VecDeque::new(),
            following: None,
            last: None,
            ending: None,
            failed: 0,
            told: String::new(),
        }
    }

    /// Returns how many lines went wrong.
    async fn go_on(mut self, to: OwnedWriteHalf, patience: Duration) -> anyhow::Result<usize> {
        let mut input = tokio::spawn(pass_on(to, self.sent.clone(), self.screen.clone()));
        // The writing half, once the input has ended: dropped, it would hang up.
        let mut ended = None;
        let mut last = Instant::now();
        loop {
            let answered = ended.is_some() && self.asked.is_empty() && locked(&self.sent).is_empty();
            tokio::select! {
                end = &mut input, if ended.is_none() => {
                    let (to, refused) = end??;
                    ended = Some(to);
                    self.failed += refused;
                }
                line = self.ears.from.next_line() => {
                    self.hear(&line?.context("the runtime has hung up")?).await?;
                }
                outcome = outcome(&mut self.following) => self.settle(outcome),
                whole = whole_of(&mut self.ending) => self.end(whole),
                // One answer may come in several parts.
                () = tokio::time::sleep(QUIET), if answered && self.ending.is_none() => {
                    let Some((id, had)) = self.last.take().filter(|_| !self.person) else {
                        return Ok(self.failed);
                    };
                    let screen = self.screen.clone();
                    let tell = move |why: &str| screen.err(why);
                    self.ending = Some(Box::pin(whole(self.home.clone(), self.ears.thread.clone(), id, had, tell)));
                }
                () = tokio::time::sleep_until((last + patience).into()), if self.ending.is_some() => {
                    self.screen.err("not all is answered: further replies are not shown");
                    return Ok(self.failed);
                }
                () = tokio::time::sleep_until((last + patience).into()), if ended.is_some() => {
                    return Err(self.late(patience));
                }
            }
            last = Instant::now();
        }
    }

    /// Takes one line of the runtime: a message was taken, was answered, or went wrong. A reply answers the message it
    /// names and all before it.
    async fn hear(&mut self, line: &str) -> anyhow::Result<()> {
        let line: Value = parsed(line)?;
        if let Some(id) = line["taken"].as_str() {
            let number = locked(&self.sent).pop_front().unwrap_or_default();
            self.asked.push_back((id.to_owned(), number));
            self.follow_next(QUIET);
            return Ok(());
        }
        if let Some(error) = line["error"].as_str() {
            let number = locked(&self.sent).pop_front();
            self.failed += 1;
            match number.filter(|_| !self.person) {
                Some(number) => self.screen.err(&format!("line {number}: {error}")),
                None => self.screen.err(error),
            }
        }
        if let Some(text) = line["text"].as_str() {
            self.screen.out(text);
            let named = line["in_reply_to"].as_str();
            if let Some((_, heard)) = &mut self.last {
                *heard += 1;
            }
            if let Some(at) = self.asked.iter().position(|(id, _)| Some(id.as_str()) == named) {
                self.last = self.asked.drain(..=at).next_back().map(|(id, _)| (id, 1));
                self.follow_next(QUIET);
            }
        }
        for file in self.ears.files(&line).await? {
            self.screen.out(&file);
        }
        self.screen.say(Said::Prompt);
        Ok(())
    }

    /// Takes what the runtime knows of the last message: what went wrong with it all the same, as far as it was not told.
    fn end(&mut self, whole: Option<Whole>) {
        self.ending = None;
        if let Some(why) = whole.and_then(|whole| whole.trouble).filter(|why| *why != self.told) {
            self.failed += 1;
            self.screen.err(&why);
        }
    }

    /// Takes the outcome of the oldest message.
    fn settle(&mut self, outcome: Outcome) {
        let why = match outcome {
            Outcome::Answered => None,
            Outcome::Silent(why) => Some(why),
            Outcome::Failed(why) => {
                self.failed += 1;
                Some(why)
            }
        };
        if let Some(why) = why.filter(|why| self.person || *why != self.told) {
            self.screen.err(&why);
            self.screen.say(Said::Prompt);
            self.told = why;
        }
        self.asked.pop_front();
        self.follow_next(Duration::ZERO);
    }

    /// Asks for the outcome of the oldest message, unless its reply comes before `pause` is over.
    fn follow_next(&mut self, pause: Duration) {
        let Some((id, _)) = self.asked.front() else {
            self.following = None;
            return;
        };
        if self.following.as_ref().is_none_or(|following| following.id != *id) {
            let screen = self.screen.clone();
            let tell = move |why: &str| screen.err(why);
            let outcome = follow(self.home.clone(), self.ears.thread.clone(), id.clone(), tell);
            let outcome = Box::pin(async move {
                tokio::time::sleep(pause).await;
                outcome.await
            });
            self.following = Some(Following { id: id.clone(), outcome });
        }
    }

    /// The error that the oldest line still has no reply, with how many came after it.
    fn late(&self, patience: Duration) -> anyhow::Error {
        let sent = locked(&self.sent);
        let lines: Vec<usize> =
            self.asked.iter().map(|(_, number)| *number).chain(sent.iter().copied()).collect();
        match lines.as_slice() {
            [] => late(patience),
            [line] => late(patience).context(format!("line {line} has no reply")),
            [line, after @ ..] => late(patience)
                .context(format!("line {line} has no reply, and neither have {} after it", after.len())),
        }
    }
}

async fn whole_of(ending: &mut Option<Pin<Box<dyn Future<Output = Option<Whole>> + Send>>>) -> Option<Whole> {
    match ending {
        Some(whole) => whole.as_mut().await,
        None => std::future::pending().await,
    }
}

fn locked(sent: &Sent) -> MutexGuard<'_, VecDeque<usize>> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn outcome(following: &mut Option<Following>) -> Outcome {
    match following {
        Some(following) => following.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Passes standard input on, line by line; at its end returns the writing half, and how many lines were not sent.
async fn pass_on(
    mut to: OwnedWriteHalf,
    sent: Sent,
    screen: Screen,
) -> std::io::Result<(OwnedWriteHalf, usize)> {
    let mut input = BufReader::new(tokio::io::stdin());
    let (mut number, mut refused) = (0_usize, 0);
    while let Some(line) = line(&mut input).await? {
        number += 1;
        match line {
            Ok(text) if text.trim().is_empty() => screen.say(Said::Prompt),
            Ok(text) => {
                locked(&sent).push_back(number);
                to.write_all(format!("{}\n", json!({ "text": text })).as_bytes()).await?;
            }
            Err(why) => {
                refused += 1;
                screen.err(&format!("line {number} was not sent: {why}"));
                screen.say(Said::Prompt);
            }
        }
    }
    Ok((to, refused))
}

/// The next line without its end, or why it cannot be a message; `None` after the last.
async fn line(input: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Result<String, String>>> {
    let (mut line, mut whole) = (Vec::new(), 0);
    loop {
        let piece = input.fill_buf().await?;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let piece = &piece[..end.map_or(piece.len(), |at| at + 1)];
        let used = piece.len();
        // The rest of a longer line is not kept.
        if whole <= TEXT_BYTES_MAX {
            line.extend_from_slice(piece);
        }
        whole += used;
        input.consume(used);
        if end.is_some() || used == 0 {
            break;
        }
    }
    if whole == 0 {
        return Ok(None);
    }
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    if whole > TEXT_BYTES_MAX + 2 || line.len() > TEXT_BYTES_MAX {
        let why = format!(
            "it has {whole} bytes, and a message {TEXT_BYTES_MAX} at most; send it as a file, with --file"
        );
        return Ok(Some(Err(why)));
    }
    let text = String::from_utf8(line);
    Ok(Some(text.map_err(|_| "it is no UTF-8; convert it, or send it as a file, with --file".to_owned())))
}

/// Shows lines in order, by a thread of its own: while the reader of standard output pauses, as a pager does, the
/// runtime is heard all the same.
#[derive(Clone)]
struct Screen {
    to: mpsc::Sender<Said>,
}

enum Said {
    Out(String),
    Err(String),
    Prompt,
    End,
}

impl Screen {
    fn open(person: bool) -> (Screen, JoinHandle<()>) {
        let (to, from) = mpsc::channel();
        (Screen { to }, std::thread::spawn(move || show(&from, person)))
    }

    fn say(&self, what: Said) {
        // The thread ends with the last sender, so it still hears this one.
        let _ = self.to.send(what);
    }

    fn out(&self, text: &str) {
        self.say(Said::Out(text.to_owned()));
    }

    fn err(&self, text: &str) {
        self.say(Said::Err(text.to_owned()));
    }
}

fn show(said: &mpsc::Receiver<Said>, person: bool) {
    while let Ok(next) = said.recv() {
        match next {
            Said::Out(text) => println!("{text}"),
            Said::Err(text) => eprintln!("{text}"),
            Said::Prompt if person => {
                print!("> ");
                let _ = std::io::stdout().flush();
            }
            Said::Prompt => {}
            Said::End => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line is read whole, however its pieces arrive.
    #[tokio::test]
    async fn a_line_that_can_be_no_message_is_left_out_and_the_next_is_read() {
        let most = "x".repeat(TEXT_BYTES_MAX);
        let input = [b"one\r\n\xff\xfe\n", most.as_bytes(), b"\n", most.as_bytes(), b"y\n\nlast"].concat();
        for size in [1, 7, 8 * 1024, input.len()] {
            let mut from = BufReader::with_capacity(size, input.as_slice());
            let mut seen = Vec::new();
            while let Some(line) = line(&mut from).await.expect("it is read") {
                seen.push(line.map_or_else(
                    |why| if why.contains("UTF-8") { "no UTF-8".to_owned() } else { why },
                    |text| if text.len() > 9 { text.len().to_string() } else { text },
                ));
            }
            let long = format!("it has {} bytes", TEXT_BYTES_MAX + 2);
            assert!(seen.get(3).is_some_and(|why| why.starts_with(&long)), "{seen:?}");
            seen.remove(3);
            assert_eq!(seen, ["one", "no UTF-8", &TEXT_BYTES_MAX.to_string(), "", "last"]);
        }
    }
}
