//! `vestibule chat`: a client of the terminal channel. Without a running house it starts one inside
//! itself.

use crate::cli::ChatArgs;
use crate::up::program;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use vestibule_runtime::{Config, Home, Running, Scope, words};

/// How long a house may take to open its terminal.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// The longest line about a file, in characters: a path has 4,095 bytes at most.
const FILE_LINE_CHARS_MAX: usize = 4_200;

/// Nothing more comes after this long without a line.
const QUIET: Duration = Duration::from_millis(300);

/// Says one thing, or keeps talking.
pub async fn chat(args: ChatArgs) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    let interactive = args.text.is_empty() && args.files.is_empty();
    let files = args.files.iter().map(|path| read_file(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut terminal, inner) = connect(&home, interactive).await?;
    terminal.save = args.save.clone();
    let outcome =
        if interactive { talk(&mut terminal).await } else { say(&mut terminal, &args, &files).await };
    drop(terminal);
    if let Some(running) = inner {
        running.stop().await?;
    }
    outcome
}

struct Terminal {
    from: Lines<BufReader<OwnedReadHalf>>,
    to: OwnedWriteHalf,
    /// Where the files of replies are saved.
    save: Option<PathBuf>,
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

/// The running house's terminal, or that of a house started here.
async fn connect(home: &Home, interactive: bool) -> anyhow::Result<(Terminal, Option<Running>)> {
    if let Ok(stream) = UnixStream::connect(home.terminal_socket()).await {
        return Ok((greet(home, stream, interactive).await?, None));
    }
    let inner = match Running::start(home.clone(), Config::load(home)?, Scope::Terminal, program()).await {
        Ok(running) => Some(running),
        // Somebody else's house holds the home: it may be opening its terminal just now.
        Err(vestibule_runtime::Error::Locked(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let deadline = Instant::now() + OPEN_PATIENCE;
    loop {
        match UnixStream::connect(home.terminal_socket()).await {
            Ok(stream) => return Ok((greet(home, stream, interactive).await?, inner)),
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => {
                return Err(error).context("the terminal channel does not open; see `vestibule status`");
            }
        }
    }
}

async fn greet(home: &Home, stream: UnixStream, interactive: bool) -> anyhow::Result<Terminal> {
    let (from, to) = stream.into_split();
    let mut terminal = Terminal { from: BufReader::new(from).lines(), to, save: None };
    terminal.write(&json!({ "token": home.token()?, "interactive": interactive })).await?;
    terminal.read().await?;
    Ok(terminal)
}

impl Terminal {
    async fn write(&mut self, line: &Value) -> anyhow::Result<()> {
        Ok(self.to.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// The next line; what the house answers with an error is one here.
    async fn read(&mut self) -> anyhow::Result<Value> {
        let line = self.from.next_line().await?.context("the house has hung up")?;
        let line: Value = serde_json::from_str(&line).context("the house said something strange")?;
        match line["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(line),
        }
    }

    /// Says something and waits for the reply.
    async fn round(&mut self, text: &str, files: &[(String, Vec<u8>)]) -> anyhow::Result<String> {
        let heads: Vec<Value> =
            files.iter().map(|(name, bytes)| json!({ "name": name, "size": bytes.len() })).collect();
        self.write(&json!({ "text": text, "files": heads })).await?;
        for (_, bytes) in files {
            self.to.write_all(bytes).await?;
        }
        loop {
            let line = self.read().await?;
            if let Some(reply) = line["text"].as_str() {
                let files = self.files(&line).await?;
                return Ok([&[reply.to_owned()], files.as_slice()].concat().join("\n"));
            }
        }
    }

    /// Takes the files that follow a line, saves them if they are wanted, and says what became of
    /// each.
    async fn files(&mut self, line: &Value) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        for head in line["files"].as_array().into_iter().flatten() {
            let size = head["size"].as_u64().context("the house said something strange")?;
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
            // A name of several lines would be text of its own.
            said.push(words::line(line, FILE_LINE_CHARS_MAX));
        }
        Ok(said)
    }
}

async fn say(terminal: &mut Terminal, args: &ChatArgs, files: &[(String, Vec<u8>)]) -> anyhow::Result<()> {
    let text = args.text.join(" ");
    let patience = Duration::from_secs(args.timeout);
    let late =
        || format!("no reply came within {} s; `vestibule status` says how the house is", args.timeout);
    let begin = Instant::now();
    let reply = tokio::time::timeout(patience, terminal.round(&text, files)).await.with_context(late)??;
    println!("{reply}");
    let Some(rounds) = args.time else { return Ok(()) };
    let first = begin.elapsed();
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        tokio::time::timeout(patience, terminal.round(&text, &[])).await.with_context(late)??;
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

/// Keeps talking until standard input ends.
async fn talk(terminal: &mut Terminal) -> anyhow::Result<()> {
    let person = std::io::stdin().is_terminal();
    let prompt = || {
        if person {
            print!("> ");
            let _ = std::io::stdout().flush();
        }
    };
    if person {
        println!("Talk to the agent; Ctrl-D ends.");
    }
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let (mut open, mut sent, mut asked) = (true, 0_usize, VecDeque::new());
    prompt();
    loop {
        let answered = !open && sent == 0 && asked.is_empty();
        tokio::select! {
            line = input.next_line(), if open => match line? {
                Some(text) if text.trim().is_empty() => prompt(),
                Some(text) => {
                    terminal.write(&json!({ "text": text })).await?;
                    sent += 1;
                }
                None => open = false,
            },
            line = terminal.from.next_line() => {
                let Some(line) = line? else { bail!("the house has hung up") };
                let line: Value = serde_json::from_str(&line).context("the house said something strange")?;
                hear(&line, &mut sent, &mut asked);
                for file in terminal.files(&line).await? {
                    println!("{file}");
                }
                if line["taken"].is_null() {
                    prompt();
                }
            }
            // One answer may come in several parts.
            () = tokio::time::sleep(QUIET), if answered => return Ok(()),
        }
    }
}

/// One line of the house: what was asked is taken, answered, or went wrong. A reply answers the
/// message it names and all before it.
fn hear(line: &Value, sent: &mut usize, asked: &mut VecDeque<String>) {
    if let Some(id) = line["taken"].as_str() {
        *sent = sent.saturating_sub(1);
        asked.push_back(id.to_owned());
    }
    if let Some(error) = line["error"].as_str() {
        *sent = sent.saturating_sub(1);
        eprintln!("{error}");
    }
    if let Some(text) = line["text"].as_str() {
        println!("{text}");
        let named = line["in_reply_to"].as_str();
        if let Some(at) = asked.iter().position(|id| Some(id.as_str()) == named) {
            asked.drain(..=at);
        }
    }
}
