//! `vestibule plugin dev FILE.so`: runs a channel in a home of its own, before a runtime like any other, and shows its author
//! what passes. The file is opened anew when it changes, and what the author types is said where a person wrote last.

mod place;
mod seen;

use crate::cli::DevArgs;
use crate::up;
use anyhow::bail;
use place::Place;
use seen::Line;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use vestibule_plugin_api::wire::{Event, Request};
use vestibule_plugin_api::{Address, InboundMessage, Manifest, OutboundMessage, PluginKind};
use vestibule_runtime::observer::{Answer, Observer, Taken};
use vestibule_runtime::plugins::{self, Report, Source};
use vestibule_runtime::private::TemporaryFolder;
use vestibule_runtime::{Config, Context, Home, Running, Scope, clock, control, delivery, words};

/// How often the file is looked at. It is opened anew when it has not changed between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// How much of a plugin's version is shown, in characters.
const VERSION_CHARS_MAX: usize = 64;
/// The agent that a new home has.
const AGENT: &str = "assistant";

/// Runs a channel until Ctrl-C.
pub async fn dev(args: DevArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let report = examined(&args.file).await?;
    let Some(manifest) = report.manifest else { bail!("{} has no manifest", args.file.display()) };
    if manifest.kind != PluginKind::Channel {
        bail!(
            "{} is a module, and this runs channels: put it into the plugins folder of a home, and talk to it with \
             `vestibule chat`",
            args.file.display()
        );
    }
    let place = Place::open(&args)?;
    let configure = || place.configure(&args, &manifest, report.schema.as_ref());
    configure()?;
    let mut config = Config::load(&place.home)?;
    // The file comes when the home is this runtime's, and its section is read with it.
    config.channels.retain(|(channel, _), _| *channel != manifest.channel_type);
    let files = [Some(args.file.as_path()), args.config.as_deref()];
    let mut stamps = Stamps::of(files);
    greet(&manifest, &args.file, &place.home);
    let running = Running::start(place.home.clone(), config, Scope::Whole, up::program()).await?;
    let watch = Arc::new(Watch::new(&manifest, running.context()));
    let _ = running.context().observer.set(watch.clone());
    if let Some(command) = &args.command {
        let agent = json!({ "name": AGENT, "provider": "command", "command": command });
        control::dispatch(running.context(), "agent.update", agent).await?;
    }
    place.take_away(&args.file); // the copy that a killed one left
    place.put(&args.file)?;
    let mut tick = tokio::time::interval(LOOK_PAUSE);
    let mut typed = BufReader::new(tokio::io::stdin()).lines();
    let (mut listens, mut is_told) = (true, false);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            line = typed.next_line(), if listens => match line {
                Ok(Some(line)) => watch.say(&line).await,
                Ok(None) | Err(_) => listens = false,
            },
            _ = tick.tick() => {
                if !is_told && running.context().listener.address().is_some() {
                    is_told = true;
                    let url = running.context().webhook_url(&manifest.channel_type, &args.account);
                    show(("dev", format!("webhooks are taken at {}", url.unwrap_or_default())));
                }
                if stamps.have_changed(files) {
                    show(("changed", "the file or its config: it is opened anew".to_owned()));
                    if let Err(error) = configure().and_then(|()| Ok(place.put(&args.file)?)) {
                        show(("changed", format!("it cannot be opened: {error:#}")));
                    }
                }
            }
        }
    }
    running.stop().await?;
    place.take_away(&args.file);
    Ok(())
}

/// What the loader says of the file, before any config.
async fn examined(file: &Path) -> anyhow::Result<Report> {
    let folder = TemporaryFolder::new("dev")?;
    let home = Home::at(folder.path());
    let (config, config_file) = (Config::load(&home)?, home.config());
    let source = Source { file: &config_file, alone: None, is_named: false };
    let path = std::path::absolute(file)?;
    let report = plugins::examine(&home, &config, source, &up::program(), &path).await;
    // That its place is taken says nothing here: what is built in makes room for it.
    let wrong = report
        .checks
        .iter()
        .find(|check| check.ok == Some(false) && ["file", "process"].contains(&check.what));
    match wrong {
        Some(check) => bail!("{} cannot be run: {}", file.display(), check.words),
        None => Ok(report),
    }
}

fn greet(manifest: &Manifest, file: &Path, home: &Home) {
    let (name, version) = (&manifest.name, words::line(&manifest.version, VERSION_CHARS_MAX));
    show((
        "dev",
        format!("{name} {version} of {} runs in the home {}", file.display(), home.root().display()),
    ));
    show((
        "dev",
        "what you type is said where a person wrote last; `/to CHAT TEXT` says it elsewhere; Ctrl-C ends all"
            .to_owned(),
    ));
}

/// Prints a line, with the time of day.
fn show((what, words): Line) {
    println!("{}  {what:<9}  {words}", &clock::format_time(clock::now())[11..19]);
}

/// Of each file: its size, its time and its inode, if it is there and not empty.
type Seen = Vec<Option<(u64, i64, i64, u64)>>;

/// What the files were like when they were looked at last, and when they were taken last.
struct Stamps {
    last: Seen,
    taken: Seen,
}

impl Stamps {
    /// The files as they are now.
    fn of(files: [Option<&Path>; 2]) -> Stamps {
        let now = look(files);
        Stamps { last: now.clone(), taken: now }
    }

    /// Whether the files have changed since this said so last, and change no more.
    fn have_changed(&mut self, files: [Option<&Path>; 2]) -> bool {
        let now = look(files);
        let is_settled = now.iter().all(Option::is_some) && now == self.last;
        let is_new = is_settled && now != self.taken;
        if is_new {
            self.taken.clone_from(&now);
        }
        self.last = now;
        is_new
    }
}

fn look(files: [Option<&Path>; 2]) -> Seen {
    let stamp = |file: &Path| {
        let meta = std::fs::metadata(file).ok().filter(|meta| meta.len() > 0)?;
        Some((meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()))
    };
    files.iter().flatten().map(|file| stamp(file)).collect()
}

/// Shows what passes, and has an agent listen in each chat in which a person writes.
struct Watch {
    channel: String,
    context: Weak<Context>,
    /// The chats in which an agent listens.
    wired: Arc<Mutex<HashSet<(String, String)>>>,
    /// Where a person wrote last.
    last: Mutex<Option<Address>>,
}

impl Watch {
    fn new(manifest: &Manifest, context: &Arc<Context>) -> Watch {
        let channel = manifest.channel_type.clone();
        Watch { channel, context: Arc::downgrade(context), wired: Arc::default(), last: Mutex::default() }
    }

    /// Says a typed line where a person wrote last, or where the line says.
    async fn say(&self, line: &str) {
        let Some(context) = self.context.upgrade() else { return };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match typed(line, last, &self.channel) {
            Ok(None) => {}
            Ok(Some((to, text))) => {
                if let Err(error) = delivery::say(&context, "plugin-dev", text, to).await {
                    show(("dev", format!("it is not said: {error}")));
                }
            }
            Err(why) => show(("dev", why.to_owned())),
        }
    }
}

/// Where a typed line goes, and its text. Pure.
fn typed<'a>(
    line: &'a str,
    last: Option<Address>,
    channel: &str,
) -> Result<Option<(Address, &'a str)>, &'static str> {
    if let Some(rest) = line.strip_prefix("/to ") {
        let (chat, text) = rest.trim_start().split_once(' ').ok_or("write `/to CHAT TEXT`")?;
        let address = Address {
            channel_type: channel.into(),
            account: last.map_or_else(|| vestibule_plugin_api::ACCOUNT_MAIN.into(), |last| last.account),
            platform_id: chat.into(),
            thread_id: None,
        };
        return Ok(Some((address, text)));
    }
    match line.trim().is_empty() {
        true => Ok(None),
        false => last
            .map(|to| Some((to, line)))
            .ok_or("no person has written yet: name a chat with `/to CHAT TEXT`"),
    }
}

impl Observer for Watch {
    fn hears(&self, channel: &str, event: &Event) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if channel != self.channel {
            return Box::pin(std::future::ready(()));
        }
        seen::said(event).into_iter().for_each(show);
        let Event::Message { account, message, .. } = event else { return Box::pin(std::future::ready(())) };
        let place = (account.clone(), message.platform_id.as_str().to_owned());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Address {
            channel_type: self.channel.as_str().into(),
            account: account.as_str().into(),
            platform_id: message.platform_id.clone(),
            thread_id: message.thread_id.clone(),
        });
        let wired = self.wired.clone();
        let is_new = wired.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
        match self.context.upgrade().filter(|_| is_new) {
            Some(context) => Box::pin(wire(context, self.channel.clone(), account.clone(), message.clone())),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn has_taken(&self, event: &Event, taken: Taken) {
        seen::taken(event, &taken).into_iter().for_each(show);
    }

    fn hands_over(&self, message: &OutboundMessage) {
        show(seen::handed_over(message));
    }

    fn is_answered(&self, message: &OutboundMessage, answer: Answer<'_>) {
        show(seen::answered(message, answer));
    }

    fn asks(&self, channel: &str, asked: &Request) {
        if channel == self.channel {
            seen::asked(asked).into_iter().for_each(show);
        }
    }

    fn is_told(&self, channel: &str, asked: &Request, answer: Result<&Value, &str>) {
        if channel == self.channel {
            show(seen::told(asked, answer));
        }
    }
}

/// Has the agent listen in the chat of a message: to all that is said to it alone, in a group to what names it.
async fn wire(context: Arc<Context>, channel: String, account: String, message: InboundMessage) {
    let chat = message.platform_id.as_str();
    let pattern = (!message.is_group).then_some(".");
    let wiring = json!({
        "agent": AGENT, "channel": channel, "account": account, "chat": chat, "name": null, "pattern": pattern
    });
    match control::dispatch(&context, "wiring.create", wiring).await {
        Ok(_) => {}
        // In a home that is kept it was wired before.
        Err(error) => show(("dev", format!("no agent was wired to {chat}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_typed_line_goes() {
        let last = || {
            Some(Address {
                channel_type: "acme".into(),
                account: "two".into(),
                platform_id: "room".into(),
                thread_id: Some("t".into()),
            })
        };
        for (line, last, want) in [
            ("hello", last(), Ok(Some(("two", "room", "t", "hello")))),
            ("/to bob and you?", last(), Ok(Some(("two", "bob", "", "and you?")))),
            ("/to bob and you?", None, Ok(Some(("main", "bob", "", "and you?")))),
            ("/to bob", last(), Err("write `/to CHAT TEXT`")),
            ("/today", last(), Ok(Some(("two", "room", "t", "/today")))),
            (" ", last(), Ok(None)),
            ("hello", None, Err("no person has written yet: name a chat with `/to CHAT TEXT`")),
        ] {
            let goes = typed(line, last, "acme");
            let goes = goes.as_ref().map(|goes| {
                goes.as_ref().map(|(to, text)| {
                    let thread = to.thread_id.as_ref().map_or("", |thread| thread.as_str());
                    (to.account.as_str(), to.platform_id.as_str(), thread, *text)
                })
            });
            assert_eq!(goes.map_err(|why| *why), want, "{line}");
        }
    }

    #[test]
    fn a_file_is_new_when_it_changes_no_more() {
        let folder = TemporaryFolder::new("test").expect("a folder");
        let file = folder.path().join("x.so");
        std::fs::write(&file, "one").expect("written");
        let files = [Some(file.as_path()), None];
        let mut stamps = Stamps::of(files);
        assert!(!stamps.have_changed(files));
        std::fs::write(&file, "another").expect("written");
        assert!(!stamps.have_changed(files), "it may be half written");
        std::fs::write(&file, "another, longer").expect("written");
        assert!(!stamps.have_changed(files));
        assert_eq!([stamps.have_changed(files), stamps.have_changed(files)], [true, false]);
        std::fs::remove_file(&file).expect("removed");
        assert_eq!([stamps.have_changed(files), stamps.have_changed(files)], [false, false]);
    }
}
