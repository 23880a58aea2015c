//! IRC in one file: the bot joins channels of a server; what is said there, or to it in private, is a message.
//!
//! IRC gives what is said no id, so each line has one of its connection's start and its number; and the server confirms no
//! line, so a reply is delivered when its last line is written.

use std::{sync::Arc, time::Duration};
use vestibule_plugin_api::toolbox::lines::{Lines, Reader, cut};
use vestibule_plugin_api::toolbox::pace::{Bucket, Pace};
use vestibule_plugin_api::toolbox::{inbox::Inbox, sending::Sending, task::Task};
use vestibule_plugin_api::*;

config! {
    /// `[channels.irc.main]` in `vestibule.toml`.
    struct Config {
        /// The server as HOST:PORT, which is spoken to without TLS
        server: String,
        /// The bot's name; `_` is added while another has it
        nick: String = "vestibule",
        /// The channels to join, such as ["#team"]
        channels: Vec<String> = [],
        /// The server's password, if it wants one
        password: Option<Secret>,
        /// The milliseconds between two lines: a server ends the connection of a client that writes faster than it likes
        pace_ms: u64 = 600,
    }
}

/// So many lines go out at once before the pace counts; so long one waits for its turn, and the bot to be welcomed.
const BURST: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(20);
/// The lines of a reply, and the bytes of one: a line has 512 with all that stands before the text.
const PARTS_MAX: usize = 1_000;
const PART_BYTES: usize = 380;
/// Servers ask after a bot that is silent every few minutes, so one that says nothing for so long is gone.
const QUIET: Duration = Duration::from_secs(300);
/// The longest line that is read, and the most messages that are held while the runtime takes none.
const LINE_BYTES_MAX: usize = 16 * 1024;
const HELD_MAX: usize = 512;

struct IrcChannel {
    irc: Arc<Irc>,
    task: Task,
}

struct Irc {
    config: Config,
    runtime: Runtime,
    lines: Lines,
    bucket: Bucket,
    inbox: Inbox,
}

#[async_trait]
impl Channel for IrcChannel {
    type Config = Config;

    async fn start(config: Config, runtime: Runtime) -> Result<Self> {
        let bucket = Bucket::new(BURST, Duration::from_millis(config.pace_ms));
        let (lines, inbox) = (Lines::new("the IRC server"), Inbox::new(&runtime, HELD_MAX));
        let irc = Arc::new(Irc { config, runtime: runtime.clone(), lines, bucket, inbox });
        // The first time right here: a wrong address or password is this start's error.
        let first = Connection::open(&irc).await?;
        Ok(IrcChannel { task: Task::start(&runtime, stay(irc.clone(), first)), irc })
    }

    async fn deliver(&self, message: OutboundMessage) -> Result<Receipt> {
        let Content::Text { text } = message.content else {
            return Err(PluginError::unsupported("IRC has lines of text only"));
        };
        let (irc, to, parts) = (&self.irc, message.address.platform_id.as_str(), cut(&text, PART_BYTES));
        if to.is_empty() || to.starts_with(':') || to.contains([' ', ',']) || parts.len() > PARTS_MAX {
            return Err(PluginError::refused(
                "IRC takes 1,000 lines at most, to one name such as #team or ann",
            ));
        }
        let mut sending = Sending::of(&irc.runtime, &message.id, message.sent_so_far, parts.len());
        for part in parts.iter().skip(sending.parts()) {
            irc.bucket.take(PATIENCE).await?;
            irc.lines.send(&format!("PRIVMSG {to} :{part}")).await?;
            sending.went(None).await;
        }
        Ok(sending.receipt())
    }

    async fn stop(&self) {
        let _ = self.irc.lines.send("QUIT :until later").await;
        self.task.end().await;
        self.irc.inbox.end().await;
    }
}

/// Stays connected until it is aborted.
async fn stay(irc: Arc<Irc>, first: Connection) {
    let (mut pace, mut connection) = (Pace::new(irc.runtime.clone()), Ok(first));
    loop {
        let ended = listen(connection, &irc, &mut pace).await;
        pace.after(ended).await;
        connection = Connection::open(&irc).await;
    }
}

/// Hears the server until the connection ends.
async fn listen(connection: Result<Connection>, irc: &Irc, pace: &mut Pace) -> Result<()> {
    let mut connection = connection?;
    pace.works().await;
    loop {
        let text = connection.reader.next(QUIET).await?;
        let line = Line::of(&text);
        match line.verb {
            "PRIVMSG" if line.is_said() => irc.inbox.put(connection.message(&line)).await,
            "NICK" if line.nick == connection.nick => connection.nick = line.param(0).to_owned(),
            "KICK" if line.param(1) == connection.nick => {
                pace.note(line.note("it was removed from", 0)).await
            }
            "403" | "405" | "471" | "473" | "474" | "475" => pace.note(line.note("it cannot join", 1)).await,
            _ => line.answer(&irc.lines).await?,
        }
    }
}

/// A connection in which the server has welcomed the bot, by this nick.
struct Connection {
    reader: Reader,
    nick: String,
    since: Timestamp,
    heard: u64,
}

impl Connection {
    async fn open(irc: &Irc) -> Result<Connection> {
        let (lines, config, mut nick) = (&irc.lines, &irc.config, irc.config.nick.clone());
        let mut reader = lines.open(&config.server, LINE_BYTES_MAX).await?;
        if let Some(password) = &config.password {
            lines.send(&format!("PASS :{}", password.expose())).await?;
        }
        lines.send(&format!("NICK {nick}")).await?;
        lines.send(&format!("USER {nick} 0 * :Vestibule")).await?;
        let nick = loop {
            let text = reader.next(PATIENCE).await?;
            let line = Line::of(&text);
            match line.verb {
                "001" => break line.param(0).to_owned(),
                "433" | "436" | "437" => {
                    nick.push('_');
                    lines.send(&format!("NICK {nick}")).await?;
                }
                "432" | "464" | "465" => return Err(PluginError::broken(format!("IRC: {}", line.text()))),
                _ => line.answer(lines).await?,
            }
        };
        irc.runtime.own_handles(vec![nick.clone()]).await;
        for channel in &config.channels {
            lines.send(&format!("JOIN {channel}")).await?;
        }
        Ok(Connection { reader, nick, since: Timestamp::now(), heard: 0 })
    }

    fn message(&mut self, line: &Line<'_>) -> InboundMessage {
        let (nick, to) = (line.nick, line.param(0));
        let deed = line.text().strip_prefix("\u{1}ACTION ").map(|deed| deed.trim_end_matches('\u{1}'));
        let text = deed.map_or_else(|| line.text().to_owned(), |deed| format!("* {nick} {deed}"));
        let is_private = to.eq_ignore_ascii_case(&self.nick);
        self.heard += 1;
        let id = format!("{}-{}", self.since.0, self.heard);
        let sender = Sender { handle: nick.to_lowercase(), name: Some(nick.into()), ..Sender::default() };
        InboundMessage {
            event_id: id.clone(),
            message_id: id,
            platform_id: if is_private { nick } else { to }.to_lowercase().into(),
            sender,
            is_mention: is_private || names_first(&text, &self.nick),
            is_group: !is_private,
            text,
            timestamp: Timestamp::now(),
            ..InboundMessage::default()
        }
    }
}

/// One line of the server: `:NICK!USER@HOST VERB PARAM PARAM :TEXT`.
struct Line<'a> {
    nick: &'a str,
    verb: &'a str,
    params: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Line<'a> {
        let from = line.strip_prefix(':').map(|line| line.split_once(' ').unwrap_or((line, "")));
        let (from, rest) = from.unwrap_or(("", line));
        let (words, text) = rest.split_once(" :").map_or((rest, None), |(words, text)| (words, Some(text)));
        let mut words = words.split(' ').filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or_default();
        Line { nick: from.split('!').next().unwrap_or_default(), verb, params: words.chain(text).collect() }
    }

    fn param(&self, number: usize) -> &'a str {
        self.params.get(number).copied().unwrap_or_default()
    }

    fn text(&self) -> &'a str {
        self.param(self.params.len().saturating_sub(1))
    }

    /// What the operator is told of a channel, which this parameter names.
    fn note(&self, what: &str, number: usize) -> Option<String> {
        Some(format!("{what} {}: {}", self.param(number), self.text()))
    }

    /// Whether a person said it, and no program asked another for its version or the like.
    fn is_said(&self) -> bool {
        !self.text().starts_with('\u{1}') || self.text().starts_with("\u{1}ACTION ")
    }

    /// Answers what is asked at any time.
    async fn answer(&self, lines: &Lines) -> Result<()> {
        match self.verb {
            "PING" => lines.send(&format!("PONG :{}", self.text())).await,
            "ERROR" => Err(Failure::network(false).error(format!("IRC: {}", self.text()))),
            _ => Ok(()),
        }
    }
}

/// Whether a text begins with this name, and not with a longer one.
fn names_first(text: &str, nick: &str) -> bool {
    let is_more = |c: char| c.is_alphanumeric() || "_-[]\\`^{|}".contains(c);
    text.trim_start_matches('@')
        .split_at_checked(nick.len())
        .is_some_and(|(name, rest)| name.eq_ignore_ascii_case(nick) && !rest.starts_with(is_more))
}

export_channel! {
    channel: IrcChannel,
    channel_type: "irc",
    description: "IRC: channels and private messages of a server",
}

#[cfg(test)]
mod tests;
