//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The vestibule between chat channels and sandboxed AI agents.
#[derive(Parser)]
#[command(name = "vestibule", version, arg_required_else_help = true, after_help = AFTER)]
pub struct Cli {
    /// How much is logged to standard error [default: info for `up`, else warn]
    #[arg(long, value_enum, global = true, env = "VESTIBULE_LOG")]
    pub log: Option<Level>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "Everything of an installation lies in one home: $VESTIBULE_HOME, or \
                     $XDG_DATA_HOME/vestibule, or ~/.local/share/vestibule.";

/// A chat's id, which may begin with a hyphen. An option stands there when the id was forgotten.
fn id_of_a_chat(text: &str) -> Result<String, String> {
    match text.starts_with("--") {
        true => Err("the chat is missing before this option".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// How much is logged.
#[derive(Clone, Copy, ValueEnum)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run; the first start makes the home and wires the terminal to an agent that echoes
    Up,
    /// Talk to the agent: with TEXT print its reply, without it keep talking
    Chat(ChatArgs),
    /// Show how the runtime is, and which chats wait to be wired
    Status(Output),
    /// Channels: the platforms, and the accounts on them
    #[command(subcommand)]
    Channel(ChannelVerb),
    /// Plugins: channels and modules that are built in or lie in the plugins folder
    #[command(subcommand)]
    Plugin(PluginVerb),
    /// Agents: identities with a folder and a provider
    #[command(subcommand)]
    Agent(AgentVerb),
    /// Messaging groups: the chats that are known, whatever their platform calls them (room, group, repository …)
    #[command(subcommand)]
    MessagingGroup(MessagingGroupVerb),
    /// Which agent listens in which chat, and how
    #[command(subcommand)]
    Wiring(WiringVerb),
    /// Sessions: the mailboxes of agents, and those in quarantine
    #[command(subcommand)]
    Session(SessionVerb),
    /// The names under which an agent may send to chats
    #[command(subcommand)]
    Destination(DestinationVerb),
    /// Questions that agents ask people with a choice of answers
    #[command(subcommand)]
    Question(QuestionVerb),
    /// Deliveries: replies that no channel has taken yet, and those that were given up
    #[command(subcommand)]
    Delivery(DeliveryVerb),
    /// Dropped messages: those that reached no agent, and why
    #[command(subcommand)]
    DroppedMessage(DroppedMessageVerb),
    /// Copy what cannot be made again into a new folder, while it runs
    Backup(BackupArgs),
    /// Make a home of a backup; nothing may run in it
    Restore(RestoreArgs),
    /// Measure this machine; no runtime is needed
    #[command(subcommand, hide = true)]
    Bench(BenchVerb),
}

#[derive(Args)]
pub struct BackupArgs {
    /// The folder: not there yet, or empty, and outside the home
    #[arg(value_name = "DEST")]
    pub folder: std::path::PathBuf,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub struct RestoreArgs {
    /// The folder of a backup
    #[arg(value_name = "BACKUP")]
    pub folder: std::path::PathBuf,
    /// Set the home's database aside and put the backup's in its place
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Subcommand)]
pub enum BenchVerb {
    /// What a plugin costs in each tier: medians of one run
    Plugin(BenchArgs),
}

#[derive(Args)]
pub struct BenchArgs {
    /// A channel's `.so` whose deliveries answer at once
    pub file: std::path::PathBuf,
    /// The config of its account, as JSON
    #[arg(long, default_value = "{}")]
    pub config: String,
    /// How many calls each figure takes
    #[arg(long, default_value_t = 20_000)]
    pub calls: u32,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub struct ChatArgs {
    /// What to say; several words are one message
    pub text: Vec<String>,
    /// Send this file along; repeat for more
    #[arg(long = "file", value_name = "PATH")]
    pub files: Vec<std::path::PathBuf>,
    /// Save the files of replies in this folder
    #[arg(long, value_name = "FOLDER")]
    pub save: Option<std::path::PathBuf>,
    /// Say it ROUNDS more times, one after another, and print how long the round trips take
    #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "200")]
    pub time: Option<u32>,
    /// Give up after this many seconds without a reply
    #[arg(long, value_name = "SECONDS", default_value_t = 330)]
    pub timeout: u64,
}

#[derive(Args)]
pub struct Output {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum ChannelVerb {
    /// Show the channels and their accounts
    List(Output),
    /// Add an account: says what its platform needs, asks for what is missing, writes vestibule.toml and tries it
    Add(ChannelAdd),
    /// Try an account: does its platform let it in?
    Check(AccountArgs),
    /// Show the code by which a device of yours lets an account in, on platforms that work so; until it is done
    Link(AccountPlace),
    /// Take an account out of vestibule.toml; chats, sessions and records of it stay
    Remove(AccountArgs),
}

/// A command that cannot be run as it was typed.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An account, and how the answer is shown.
#[derive(Args)]
pub struct AccountArgs {
    #[command(flatten)]
    pub place: AccountPlace,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub struct ChannelAdd {
    #[command(flatten)]
    pub place: AccountPlace,
    /// One key of its config; of a secret, where it is kept: KEY=env:NAME or KEY=file:PATH. Repeat for more
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print JSON for a program: nothing is asked, and what is missing is an error
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub struct AccountPlace {
    /// The kind of platform, such as `telegram`
    #[arg(value_name = "TYPE")]
    pub channel: String,
    /// The account's name: you choose it
    #[arg(long, default_value = vestibule_plugin_api::ACCOUNT_MAIN)]
    pub account: String,
}

#[derive(Subcommand)]
pub enum PluginVerb {
    /// Show what is loaded, and what was refused and why
    List(Output),
    /// Read a plugin's config again; only what changed is started anew, or if nothing did, all: also the way out of quarantine
    Reload(Name),
    /// Say whether a file would be loaded, which keys its config may have, and whether it fits; no runtime is needed
    Check(PluginFile),
    /// Trust a file with the bytes it has now; any other bytes of it are refused from then on
    Trust(TrustArgs),
    /// Trust a plugin no longer
    Untrust(TrustArgs),
    /// Examine the file of a channel or a module before a scripted runtime; no runtime is needed
    Conform(ConformArgs),
    /// Run a channel's file for its author: shows all that passes, and opens the file anew when it changes
    Dev(DevArgs),
    /// Make a crate for a channel or a module of your own; no runtime is needed
    New(crate::new::NewArgs),
}

#[derive(Args)]
pub struct PluginFile {
    /// The `.so`
    pub file: std::path::PathBuf,
    /// Its config: the keys of one account, or a vestibule.toml with the sections of its accounts [default: the home's]
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub struct DevArgs {
    /// The channel's `.so`
    pub file: std::path::PathBuf,
    /// Its config: the keys themselves, or a vestibule.toml
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<std::path::PathBuf>,
    /// One key of the config; the value is TOML, or else the words themselves; repeat for more
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The account's name
    #[arg(long, default_value = vestibule_plugin_api::ACCOUNT_MAIN)]
    pub account: String,
    /// A program that answers in place of the echo: prompt on standard input, answer on standard output
    #[arg(long)]
    pub command: Option<String>,
    /// Where webhooks are taken [default: a free port of this machine]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// A home that stays, with what the channel keeps in it [default: one that is removed at the end]
    #[arg(long, value_name = "FOLDER")]
    pub home: Option<std::path::PathBuf>,
}

#[derive(Args)]
pub struct ConformArgs {
    /// The plugin's `.so`
    pub file: std::path::PathBuf,
    /// Where it runs meanwhile
    #[arg(long, value_enum, default_value = "process")]
    pub tier: TierWord,
    /// Its config: the keys themselves, or a vestibule.toml with [channels.NAME.ACCOUNT] or [modules.NAME]
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<std::path::PathBuf>,
    /// One key of the config; the value is TOML, or else the words themselves; repeat for more
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The account's name; a module has `main`
    #[arg(long, default_value = vestibule_plugin_api::ACCOUNT_MAIN)]
    pub account: String,
    /// The platform's id of the chat that gets the test messages, or that a module is asked about
    #[arg(long, value_name = "ID", default_value = "conform", allow_hyphen_values = true, value_parser = id_of_a_chat)]
    pub chat: String,
    /// The platform's id of a thread in it
    #[arg(long, value_name = "ID")]
    pub thread: Option<String>,
    /// A program in the place of a person on the platform: it makes the channel hand over a message once its account
    /// is started, and again whenever it is started again. The test messages then go to where that came from
    #[arg(long, value_name = "COMMAND", conflicts_with = "thread")]
    pub peer: Option<String>,
    /// Make this check only; repeat for more
    #[arg(long, value_name = "CHECK")]
    pub only: Vec<String>,
    /// Leave this check out; repeat for more
    #[arg(long, value_name = "CHECK")]
    pub skip: Vec<String>,
    /// How many calls the memory is watched over
    #[arg(long, default_value_t = 2_000)]
    pub calls: u32,
    /// How long one call may take [default: 30, for a module 10]
    #[arg(long, value_name = "SECONDS")]
    pub deadline: Option<u64>,
    #[command(flatten)]
    pub output: Output,
}

/// The tiers, as the command line spells them.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TierWord {
    Process,
    InProcess,
}

#[derive(Args)]
pub struct TrustArgs {
    /// The plugin's name, or a path (for `trust`)
    #[arg(value_name = "NAME|FILE")]
    pub what: String,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Subcommand)]
pub enum AgentVerb {
    /// Show all
    List(Output),
    /// Add one
    Create(AgentArgs),
    /// Change one; what is not named stays
    Update(AgentArgs),
    /// Remove one with its wirings, destinations and records; its folders stay
    Delete(Name),
}

#[derive(Args)]
pub struct AgentArgs {
    /// The agent's name
    pub name: String,
    /// Give it another name
    #[arg(long)]
    pub rename: Option<String>,
    /// What answers: `echo`, or `command` for any program
    #[arg(long)]
    pub provider: Option<String>,
    /// The program of provider `command`: prompt on standard input, answer on standard output
    #[arg(long)]
    pub command: Option<String>,
    /// An environment variable that the program may see; repeat for more, '' for none
    #[arg(long, value_name = "NAME")]
    pub env: Option<Vec<String>>,
    /// How long one turn may take
    #[arg(long, value_name = "SECONDS")]
    pub time_limit: Option<i64>,
    /// Whether its runners may use the internet: `true` or `false`
    #[arg(long, value_name = "BOOL")]
    pub network: Option<bool>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub struct Name {
    /// Its name or id
    pub name: String,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Subcommand)]
pub enum MessagingGroupVerb {
    /// Show all
    List(Output),
    /// Make one known without wiring it
    Create {
        #[command(flatten)]
        chat: ChatPlace,
        #[command(flatten)]
        output: Output,
    },
    /// Give one another name
    Update {
        /// Its id, or the platform's id of it
        id: String,
        /// What people call it
        #[arg(long)]
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Show what was said in one, on platforms that keep it: the newest, or what follows a cursor
    History {
        /// Its id, or the platform's id of it
        id: String,
        /// The platform's id of a thread in it
        #[arg(long)]
        thread: Option<String>,
        /// Begin after this cursor, which the page before printed
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// The most messages
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Remove one with its wirings and the destinations that lead there
    Delete(Name),
}

/// A chat, by where it is.
#[derive(Args)]
pub struct ChatPlace {
    /// The kind of platform, such as `github`
    #[arg(long)]
    pub channel: String,
    /// The account, as in [channels.CHANNEL.ACCOUNT]
    #[arg(long, default_value = "main")]
    pub account: String,
    /// The chat: the platform's id of it, as `vestibule status` shows it, or what the channel understands
    #[arg(long, required_unless_present = "person", allow_hyphen_values = true, value_parser = id_of_a_chat)]
    pub chat: Option<String>,
    /// In place of --chat: the direct chat with this person, by the platform's handle of them
    #[arg(long, value_name = "HANDLE", conflicts_with = "chat")]
    pub person: Option<String>,
    /// What people call it
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Subcommand)]
pub enum WiringVerb {
    /// Show all
    List(Output),
    /// Wire an agent to a chat; it also gets a destination of the chat's name, with which it can write there
    Create {
        /// The agent
        #[arg(long)]
        agent: String,
        #[command(flatten)]
        chat: ChatPlace,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        output: Output,
    },
    /// Change one; what is not named stays
    Update {
        /// Its id
        id: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        output: Output,
    },
    /// Remove one
    Delete(Name),
}

#[derive(Args)]
pub struct How {
    /// When the agent wakes: `mention`, or `pattern` [default: mention, or pattern with --pattern]
    #[arg(long)]
    pub engage: Option<String>,
    /// A regular expression that wakes the agent; `.` for every message
    #[arg(long)]
    pub pattern: Option<String>,
    /// What a conversation is: `shared`, `per-thread` or `agent-shared` [default: shared]
    #[arg(long)]
    pub session_mode: Option<String>,
    /// What becomes of the rest: `drop`, or `accumulate` as context [default: drop]
    #[arg(long)]
    pub ignored: Option<String>,
    /// What becomes of edits, deletions and reactions: `note` for the next turn, `wake`, or `drop` [default: note]
    #[arg(long)]
    pub changes: Option<String>,
    /// Higher ones hear a message first [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    pub priority: Option<i64>,
}

#[derive(Subcommand)]
pub enum SessionVerb {
    /// Show them, the most recently active first
    List(Output),
    /// Let one that is in quarantine, or whose runs fail, try at once
    Release {
        /// Its id
        name: String,
        /// Set its out/ aside and begin with an empty one: for one that cannot be read any more. What its agent
        /// remembers of the conversation, and replies that were not read yet, stay in the old one
        #[arg(long)]
        new_out: bool,
        /// Give up the messages that were under way: for one that does the same again each time. Its chat is told
        #[arg(long)]
        give_up: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Take over the folder of a session that NanoClaw 2 or another Vestibule made; it stays as it is
    Adopt(AdoptArgs),
}

#[derive(Args)]
pub struct AdoptArgs {
    /// The folder that holds inbound.db; nothing may be writing it
    pub folder: std::path::PathBuf,
    /// The agent whose session it becomes
    #[arg(long)]
    pub agent: String,
    /// The kind of platform of its chat; without --channel and --chat it belongs to no chat
    #[arg(long, requires = "chat")]
    pub channel: Option<String>,
    /// The account, as in [channels.CHANNEL.ACCOUNT]
    #[arg(long, default_value = "main")]
    pub account: String,
    /// The platform's id of the chat
    #[arg(long, requires = "channel", allow_hyphen_values = true, value_parser = id_of_a_chat)]
    pub chat: Option<String>,
    /// The platform's id of the thread, for a session of its own
    #[arg(long, requires = "chat")]
    pub thread: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Subcommand)]
pub enum DestinationVerb {
    /// Show all
    List(Output),
    /// Let an agent send to a chat, or to another agent, under a name
    Create {
        /// The agent
        #[arg(long)]
        agent: String,
        /// The name the agent uses
        #[arg(long)]
        name: String,
        /// The chat: its id, or the platform's id of it
        #[arg(long, required_unless_present = "to_agent", allow_hyphen_values = true, value_parser = id_of_a_chat)]
        to: Option<String>,
        /// The other agent; for its answers it needs a destination of its own
        #[arg(long, value_name = "AGENT", conflicts_with = "to")]
        to_agent: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Give one another name
    Update {
        /// The agent
        #[arg(long)]
        agent: String,
        /// Its name now
        name: String,
        /// Its new name
        #[arg(long)]
        rename: String,
        #[command(flatten)]
        output: Output,
    },
    /// Withdraw one
    Delete {
        /// The agent
        #[arg(long)]
        agent: String,
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub enum QuestionVerb {
    /// Show the open ones, the oldest first
    List(Output),
    /// Answer one in place of the people who were asked
    Answer {
        /// Its id
        id: String,
        /// The answer: an option, its number or its value
        #[arg(value_name = "OPTION")]
        value: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub enum DeliveryVerb {
    /// Show those that were not delivered, and those that may be there twice, the newest first
    List {
        /// Only those in this state: `pending`, `parked`, `unknown`, `sending`, `deferred`, `held`, `failed`, `dropped`, or
        /// `delivered` for those that may be there twice
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show one, with its text
    Show {
        /// Its id
        id: String,
        /// The session it is of, where several have one of this id
        #[arg(long)]
        session: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Decide anew about some that were given up, held or dropped, and send them
    Replay(Deliveries),
    /// Never send some; what waits behind them goes on
    Drop(Deliveries),
}

/// Some deliveries.
#[derive(Args)]
pub struct Deliveries {
    /// Their ids
    #[arg(value_name = "ID", required_unless_present = "state")]
    pub ids: Vec<String>,
    /// All in this state, such as `failed`
    #[arg(long, conflicts_with = "ids")]
    pub state: Option<String>,
    /// Only of this session
    #[arg(long)]
    pub session: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Subcommand)]
pub enum DroppedMessageVerb {
    /// Show them by chat and reason, the most recent first
    List(Output),
}
