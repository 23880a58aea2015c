//! `vestibule chat`: a client of the terminal channel. Without a running runtime it starts one inside
//! itself.

mod follow;
mod talk;

use crate::cli::{ChatArgs, Cli};
use crate::up::program;
use anyhow::{Context, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use follow::{Outcome, Whole, follow, whole};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use vestibule_runtime::{Config, Home, Running, Scope, words};

/// How long `chat` waits for a runtime that starts, or one that stops.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks for the runtime.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// The longest wait of which the person is not told.
const WAIT_UNTOLD: Duration = Duration::from_secs(1);

/// The longest line about a file, in characters: a path has 4,095 bytes at most.
const FILE_LINE_CHARS_MAX: usize = 4_200;

/// Sends one message and prints its replies, or keeps talking.
pub async fn chat(args: ChatArgs) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    let keeps_talking = args.text.is_empty() && args.files.is_empty();
    if !keeps_talking && is_empty(&args) {
        let why = "the message is empty: say something, or send a file with --file; without TEXT chat keeps talking";
        Cli::command().error(ErrorKind::InvalidValue, why).exit();
    }
    // What answers other clients late is for a person.
    let interactive = keeps_talking && std::io::stdin().is_terminal();
    let files = args.files.iter().map(|path| read_file(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut terminal, inner) = connect(&home, interactive).await?;
    terminal.ears.save = args.save.clone();
    let outcome = if keeps_talking {
        talk::talk(&home, terminal, Duration::from_secs(args.timeout)).await
    } else {
        say(&home, terminal, &args, &files).await
    };
    if let Some(running) = inner {
        running.stop().await?;
    }
    outcome
}

/// Whether there is nothing to say: a variable of a script may be empty.
fn is_empty(args: &ChatArgs) -> bool {
    args.files.is_empty() && args.text.iter().all(|word| word.trim().is_empty())
}

struct Terminal {
    ears: Ears,
    to: OwnedWriteHalf,
}

/// The receiving end of the connection to the runtime.
struct Ears {
    from: Lines<BufReader<OwnedReadHalf>>,
    /// The runtime's name for this connection.
    thread: Option<String>,
    /// Where the files of replies are saved.
    save: Option<PathBuf>,
    /// Messages of earlier rounds: a reply that names one of them does not answer the current message.
    earlier: HashSet<String>,
}

/// A message that has a reply.
struct Answered {
    id: String,
    /// How many replies were heard.
    replies: usize,
}

/// Saves a file under its name, or with a number before it: nothing is written over.
fn save(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let mut number = 1;
    loop {
        let path = folder.join(if number == 1 { name.to_owned() } else { format!("{number}-{name}") });
        match std::fs::File::create_new(&path) {
            Ok(mut file) => return file.write_all(bytes).map(|()| path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A file to send along: its name and its bytes.
fn read_file(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes))
}

/// Connects to the running runtime's terminal, or to that of a runtime started here. Waits for a runtime that is
/// starting or stopping.
async fn connect(home: &Home, interactive: bool) -> anyhow::Result<(Terminal, Option<Running>)> {
    let (begin, mut told, mut inner) = (Instant::now(), false, None);
    loop {
        if let Ok(stream) = UnixStream::connect(home.terminal_socket()).await
            && let Some(terminal) = greet(home, stream, interactive).await?
        {
            return Ok((terminal, inner));
        }
        if inner.is_none() {
            inner = match Running::start(home.clone(), Config::load(home)?, Scope::Terminal, program()).await
            {
                Ok(running) => Some(running),
                Err(vestibule_runtime::Error::Locked(_)) => None,
                Err(error) => return Err(error.into()),
            };
        }
        if begin.elapsed() > OPEN_PATIENCE {
            bail!("the terminal channel does not open; see `vestibule status`");
        }
        if begin.elapsed() > WAIT_UNTOLD && !std::mem::replace(&mut told, true) {
            let at = home.root().display();
            eprintln!("waiting for the vestibule on {at}: it is starting, or stopping");
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Shows the token; `None` when the runtime hangs up, because it stops.
async fn greet(home: &Home, stream: UnixStream, interactive: bool) -> anyhow::Result<Option<Terminal>> {
    let (from, to) = stream.into_split();
    let ears = Ears { from: BufReader::new(from).lines(), thread: None, save: None, earlier: HashSet::new() };
    let mut terminal = Terminal { ears, to };
    let token = json!({ "token": home.token()?, "interactive": interactive });
    if terminal.write(&token).await.is_err() {
        return Ok(None);
    }
    let Ok(Some(line)) = terminal.ears.from.next_line().await else { return Ok(None) };
    terminal.ears.thread = heard(&line)?["thread"].as_str().map(str::to_owned);
    Ok(Some(terminal))
}

/// Reads one line of the runtime; a line that reports an error becomes an error.
fn heard(line: &str) -> anyhow::Result<Value> {
    let line = parsed(line)?;
    match line["error"].as_str() {
        Some(error) => bail!("{error}"),
        None => Ok(line),
    }
}

fn parsed(line: &str) -> anyhow::Result<Value> {
    serde_json::from_str(line).context("the runtime said something strange")
}

/// The error after a wait in which no reply came.
fn late(patience: Duration) -> anyhow::Error {
    let seconds = patience.as_secs();
    anyhow::anyhow!("no reply came within {seconds} s; `vestibule status` says how the runtime is")
}

impl Terminal {
    async fn write(&mut self, line: &Value) -> anyhow::Result<()> {
        Ok(self.to.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Sends a message and waits until it is taken and has a reply; `None` when there is none, which the person is
    /// told.
    async fn round(
        &mut self,
        home: &Home,
        (text, files): (&str, &[(String, Vec<u8>)]),
        show: impl Fn(&str),
    ) -> anyhow::Result<Option<Answered>> {
        let heads: Vec<Value> =
            files.iter().map(|(name, bytes)| json!({ "name": name, "size": bytes.len() })).collect();
        self.write(&json!({ "text": text, "files": heads })).await?;
        for (_, bytes) in files {
            self.to.write_all(bytes).await?;
        }
        let thread = self.ears.thread.clone();
        let (mut following, mut taken, mut replies) = (None, None, 0);
        loop {
            if let (Some(id), true) = (&taken, replies > 0) {
                return Ok(Some(Answered { id: String::clone(id), replies }));
            }
            let outcome = async {
                match following.as_mut() {
                    Some(outcome) => outcome.await,
                    None => std::future::pending().await,
                }
            };
            let line = tokio::select! {
                line = self.ears.from.next_line() => heard(&line?.context("the runtime has hung up")?)?,
                outcome = outcome => match outcome {
                    // The reply is on its way here.
                    Outcome::Answered => { following = None; continue }
                    Outcome::Silent(why) => { eprintln!("{why}"); return Ok(None) }
                    Outcome::Failed(why) => bail!(why),
                }
            };
            if let Some(id) = line["taken"].as_str() {
                let outcome = follow(home.clone(), thread.clone(), id.to_owned(), |why| eprintln!("{why}"));
                following = Some(Box::pin(outcome));
                taken = Some(id.to_owned());
            }
            replies += usize::from(self.ears.reply(&line, &show).await?);
        }
    }

    /// Shows the further replies to the same message; returns when there are no more, with what went wrong.
    async fn rest(
        &mut self,
        home: &Home,
        Answered { id, replies: mut had }: Answered,
        show: impl Fn(&str),
    ) -> anyhow::Result<Option<String>> {
        let tell = |why: &str| eprintln!("{why}");
        let mut turn = Box::pin(whole(home.clone(), self.ears.thread.clone(), id, had, tell));
        let mut known: Option<Whole> = None;
        loop {
            if let Some(whole) = known.take_if(|whole| had >= whole.replies) {
                return Ok(whole.trouble);
            }
            tokio::select! {
                line = self.ears.from.next_line() => {
                    // A runtime that stops sends no more.
                    let Some(line) = line? else { return Ok(None) };
                    had += usize::from(self.ears.reply(&parsed(&line)?, &show).await?);
                }
                answer = &mut turn, if known.is_none() => match answer {
                    Some(whole) => known = Some(whole),
                    None => return Ok(None),
                }
            }
        }
    }
}

impl Ears {
    /// Shows a line, if it is a reply, with a line for each of its files; returns whether it answers this round.
    async fn reply(&mut self, line: &Value, show: impl Fn(&str)) -> anyhow::Result<bool> {
        let Some(text) = line["text"].as_str() else { return Ok(false) };
        let files = self.files(line).await?;
        if line["in_reply_to"].as_str().is_some_and(|id| self.earlier.contains(id)) {
            return Ok(false);
        }
        show(&[&[text.to_owned()], files.as_slice()].concat().join("\n"));
        Ok(true)
    }

    /// Takes the files that follow a line, saves them if the person wants that, and returns a sentence about
    /// each.
    async fn files(&mut self, line: &Value) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        for head in line["files"].as_array().into_iter().flatten() {
            let size = head["size"].as_u64().context("the runtime said something strange")?;
            let mut bytes = Vec::new();
            self.from.get_mut().take(size).read_to_end(&mut bytes).await?;
            let name = Path::new(head["name"].as_str().unwrap_or_default()).file_name();
            let name = name.map_or("file".into(), |name| name.to_string_lossy());
            let saved = self.save.as_ref().map(|folder| {
                save(folder, &name, &bytes)
                    .with_context(|| format!("cannot save {name} in {}", folder.display()))
            });
            let line = match saved.transpose()? {
                None => format!("[file: {name}, {size} bytes; --save FOLDER keeps it]"),
                Some(path) => format!("[file: {}, {size} bytes]", path.display()),
            };
            // The other lines of a name with line breaks would pass for text.
            said.push(words::line(line, FILE_LINE_CHARS_MAX));
        }
        Ok(said)
    }
}

async fn say(
    home: &Home,
    mut terminal: Terminal,
    args: &ChatArgs,
    files: &[(String, Vec<u8>)],
) -> anyhow::Result<()> {
    let text = args.text.join(" ");
    let patience = Duration::from_secs(args.timeout);
    let show = |reply: &str| println!("{reply}");
    let late = |_| late(patience);
    let begin = Instant::now();
    let round = terminal.round(home, (&text, files), show);
    let answered = tokio::time::timeout(patience, round).await.map_err(late)??;
    let Some(rounds) = args.time else {
        let Some(answered) = answered else { return Ok(()) };
        return match tokio::time::timeout(patience, terminal.rest(home, answered, show)).await {
            Ok(rest) => rest?.map_or(Ok(()), |trouble| bail!(trouble)),
            Err(_) => {
                eprintln!("not all is answered after {} s: further replies are not shown", args.timeout);
                Ok(())
            }
        };
    };
    let first = begin.elapsed();
    let (mut times, mut before) = (Vec::new(), answered);
    for _ in 0..rounds {
        let begin = Instant::now();
        terminal.ears.earlier.extend(before.map(|answered| answered.id));
        let round = terminal.round(home, (&text, &[]), |_| {});
        before = tokio::time::timeout(patience, round).await.map_err(late)??;
        times.push(begin.elapsed());
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    print!("first {:.2} ms", ms(first));
    if let (Some(median), Some(worst)) =
        (times.get(times.len() / 2), times.get(times.len().saturating_sub(1) * 99 / 100))
    {
        print!(
            "; then median {:.2} ms, 99 of 100 within {:.2} ms, over {rounds} rounds",
            ms(*median),
            ms(*worst)
        );
    }
    println!();
    Ok(())
}
