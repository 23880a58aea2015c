//! Starting a runtime and stopping it: at the start the work of an earlier life goes on first, at the stop the work
//! under way ends first.

use crate::attachments::{self, Limits, Store};
use crate::chat_key::ChatKey;
use crate::config::Config;
use crate::context::Context;
use crate::db::{self, Central, WriteTxn};
use crate::error::Result;
use crate::home::{Home, HomeLock};
use crate::id::{AgentGroupId, SessionId};
use crate::lanes::Lanes;
use crate::launcher::Launcher;
use crate::ledger::{Ledger, Looked};
use crate::listener::Listener;
use crate::places::Places;
use crate::plugins::{self, Plugins};
use crate::wirings::{ChangesPolicy, EngageMode, IgnoredPolicy, SessionMode, Wiring};
use crate::{
    agents, backup, clock, control, delivery, destinations, housekeeping, launcher, ledger, messaging_groups,
    sessions, wake, wirings,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};
use vestibule_plugin_api::{ACCOUNT_MAIN, PluginKind};
use vestibule_session::crash;

/// The key of the note that the terminal was wired to the first agent.
const WIRED: &str = "wired";
/// How long a stopping runtime waits for deliveries, and then for runners.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How much of the runtime is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Whole,
    /// The terminal only: no listener, no other channel, no plugins folder.
    Terminal,
}

/// A runtime that runs, until it is stopped.
pub struct Running {
    context: Arc<Context>,
    _lock: HomeLock,
}

impl Running {
    /// Starts a runtime; returns when it takes messages. `program` is run as `program keeper` and
    /// `program runner`.
    ///
    /// # Errors
    /// Another runtime holds the home, a newer version wrote it, or its sockets cannot be made.
    pub async fn start(home: Home, config: Config, scope: Scope, program: PathBuf) -> Result<Running> {
        let begin = Instant::now();
        // Before anything opens a database: no lease may make a lane sleep.
        vestibule_session::never_wait("runtime");
        let (home, lock) = home.open()?;
        launcher::adopt_orphans();
        launcher::allow_open_files();
        launcher::take_delegated_group();
        backup::expect_restored(&home)?;
        let central = Central::open(&home.central_db())?;
        let opened = begin.elapsed();
        prepare(&central).await?;
        let attachments = Store::open(home.attachments(), Limits::of(&config))?;
        let context = assemble(home, config, program, central, attachments);
        know_what_is_newer(&context).await?;
        make_agent_folders(&context).await?;
        let prepared = begin.elapsed();
        control::listen(&context)?;
        // The work that an earlier life left goes on before anything new comes in.
        for session_id in context.central.read(ledger::seen_at_start).await? {
            context.wake(session_id);
        }
        plugins::start_bundled(&context.plugins, |m| {
            scope == Scope::Whole || m.channel_type == "terminal" || m.kind == PluginKind::Module
        });
        if scope == Scope::Whole {
            tokio::spawn(plugins::watch(context.plugins.clone()));
            tokio::task::spawn_blocking(control::tell_what_is_scarce);
        } else {
            context.plugins.are_complete().await?;
        }
        tokio::spawn(restore_missing_files(context.clone()));
        tokio::spawn(read_what_is_held(context.clone()));
        tokio::spawn(sweep_attachments(context.clone()));
        tokio::spawn(wake::watch_clock(context.clone()));
        tokio::spawn(housekeeping::serve(context.clone()));
        // The sandbox is tried now, beside everything else: the first message finds it chosen.
        let chooser = context.clone();
        tokio::spawn(async move {
            match chooser.launcher.sandbox().await {
                Ok(choice) => {
                    tracing::info!(sandbox = choice.words, limits = choice.limits, "sandbox chosen")
                }
                Err(error) => tracing::error!(%error, "no runner can be started"),
            }
        });
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
        tracing::info!(
            home = %context.home.root().display(),
            database_ms = ms(opened),
            records_ms = ms(prepared - opened),
            rest_ms = ms(begin.elapsed() - prepared),
            "ready"
        );
        Ok(Running { context, _lock: lock })
    }

    /// What the loops of this runtime share.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Stops: deliveries under way arrive, then no new messages and no runners, then every file is flushed and
    /// trusted.
    ///
    /// # Errors
    /// The last commit failed; the next start looks at every file again.
    pub async fn stop(self) -> Result<()> {
        let context = &self.context;
        context.stop.send_replace(true);
        // Deliveries under way are waited for: cut off, they would be sent twice.
        until(|| context.deliveries.open() == 0).await;
        plugins::stop_all(&context.plugins).await;
        context.wake_all_waiting();
        until(|| context.sessions.open() == 0).await;
        let home = context.home.clone();
        let flushed = tokio::task::spawn_blocking(move || flush(&home));
        if matches!(flushed.await, Ok(Ok(()))) {
            crash::point("stop: every file is flushed, not trusted");
            let marks = context.clone();
            let trust = move |db: &WriteTxn| {
                marks.ledger.write_marks(db)?;
                ledger::trust_files(db)
            };
            context.central.write(trust).await?;
        }
        // The runtime waits for this: a copy of `vestibule.db` alone is all of it from here on.
        if let Err(error) = context.central.close().await {
            tracing::warn!(%error, "vestibule.db-wal is a part of the database until the next stop: copy both");
        }
        for socket in [context.home.control_socket(), context.home.terminal_socket()] {
            let _ = std::fs::remove_file(socket);
        }
        tracing::info!("stopped");
        Ok(())
    }
}

fn assemble(
    home: Home,
    config: Config,
    program: PathBuf,
    central: Central,
    attachments: Store,
) -> Arc<Context> {
    let config = Arc::new(config);
    let stop = tokio::sync::watch::Sender::new(false);
    Arc::new_cyclic(|context: &Weak<Context>| Context {
        plugins: Arc::new(Plugins::new(
            home.clone(),
            config.clone(),
            program.clone(),
            context.clone(),
            stop.subscribe(),
        )),
        launcher: Launcher::new(home.clone(), config.clone(), program),
        places: Places::new(
            usize::try_from(config.runners_max).unwrap_or(usize::MAX),
            Duration::from_secs(config.runner_share_seconds),
        ),
        home,
        config,
        central,
        attachments,
        ledger: Ledger::default(),
        sessions: Lanes::default(),
        deliveries: Lanes::default(),
        listener: Listener::default(),
        observer: OnceLock::new(),
        adopting: tokio::sync::Mutex::default(),
        filling: Mutex::default(),
        held_up: Mutex::default(),
        serve_session: |context, session_id, waker| Box::pin(wake::serve(context, session_id, waker)),
        deliver_to: |context, address| delivery::go_on(context, vec![address]),
        scheduled: tokio::sync::watch::Sender::new(()),
        restarts: Mutex::default(),
        later: Mutex::default(),
        stop,
    })
}

/// Puts everything of a home on its disks: a link may lead to another one.
fn flush(home: &Home) -> std::io::Result<()> {
    home.places().iter().try_for_each(|place| Ok(rustix::fs::syncfs(std::fs::File::open(place)?)?))
}

/// Waits for a while until it is so.
async fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + STOP_PATIENCE;
    while !done() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Mends what an earlier life left, in one commit; wires a new home.
async fn prepare(central: &Central) -> Result<()> {
    let mend = |db: &WriteTxn| {
        let unknown = ledger::mark_unknown(db)?;
        if unknown > 0 {
            tracing::warn!(
                unknown,
                "deliveries were cut off by a crash; they are sent once more when their adapter is live"
            );
        }
        if let Some(reading) = wake::clock_reading() {
            ledger::note_clock(db, &reading, clock::now())?;
        }
        ledger::distrust_other_boots(db)?;
        if db::note(db, WIRED)?.is_none() {
            wire_itself(db)?;
            db::set_note(db, WIRED, "terminal")?;
        }
        Ok(())
    };
    central.write(mend).await
}

/// The first start: an agent that echoes, and the terminal wired to it.
fn wire_itself(db: &WriteTxn) -> Result<()> {
    let now = clock::now();
    let agent = agents::create(db, "assistant", now)?;
    let chat = messaging_groups::find_or_create(
        db,
        &ChatKey::new("terminal", ACCOUNT_MAIN, "local"),
        Some("terminal"),
        now,
    )?;
    let wiring = Wiring {
        id: String::new(),
        messaging_group_id: chat.id.clone(),
        agent_group_id: agent.id.clone(),
        engage_mode: EngageMode::Pattern,
        engage_pattern: None,
        session_mode: SessionMode::Shared,
        ignored_message_policy: IgnoredPolicy::Drop,
        changes: ChangesPolicy::default(),
        priority: 0,
    };
    wirings::create(db, wiring, now)?;
    destinations::ensure(db, &agent.id, "terminal", &chat.id, now)
}

/// Makes the folders of agents that no run has made yet: operators put programs there before the first one.
async fn make_agent_folders(context: &Context) -> Result<()> {
    for agent in context.central.read(agents::list).await? {
        context.make_agent_folder(&agent.folder);
    }
    Ok(())
}

/// Removes files that an earlier life took in and did not get to record.
async fn sweep_attachments(context: Arc<Context>) {
    let store = context.attachments.clone();
    match context.central.read(move |db| store.sweep(&attachments::named_blobs(db)?)).await {
        Ok(0) => {}
        Ok(removed) => tracing::debug!(removed, "files that no message names were removed"),
        Err(error) => tracing::error!(%error, "the attachments could not be looked at"),
    }
}

/// Makes a session's file again that was deleted, also when nothing is due in it.
async fn restore_missing_files(context: Arc<Context>) {
    let home = context.home.clone();
    let missing = context.central.read(move |db| {
        let is_missing = |agent: &AgentGroupId, session_id: &SessionId| {
            std::fs::symlink_metadata(home.session(agent, session_id).inbound_db()).is_err()
        };
        sessions::that(db, is_missing)
    });
    match missing.await {
        Ok(missing) => missing.into_iter().for_each(|session_id| context.wake(session_id)),
        Err(error) => tracing::error!(%error, "the sessions' files could not be looked at"),
    }
}

/// After a restore every session is looked at once, a few at a time: what its runner wrote is read, and held.
async fn read_what_is_held(context: Arc<Context>) {
    const AT_ONCE: i64 = 16;
    const PAUSE: Duration = Duration::from_millis(200);
    let mut last: Option<SessionId> = None;
    while !context.is_stopping() {
        let after = last.clone();
        let next =
            context.central.read(move |db| ledger::set_back_sessions(db, after.as_ref(), AT_ONCE)).await;
        let Ok(Some(end)) = next.as_ref().map(|next| next.last().cloned()) else { return };
        last = Some(end);
        next.unwrap_or_default().into_iter().for_each(|session_id| context.wake(session_id));
        tokio::time::sleep(PAUSE).await;
    }
}

/// Before anything goes out: a session's file may tell that the database was put back, and that the deliveries that
/// are on their way in it arrived long ago. A file that cannot be looked at now is left to its session's lane.
async fn know_what_is_newer(context: &Arc<Context>) -> Result<()> {
    for session_id in context.central.read(ledger::with_deliveries).await? {
        let (looking, id) = (context.clone(), session_id.clone());
        let look = move || {
            let looked = looking.project(&id);
            looking.ledger.forget(&id); // its lane looks again
            looked
        };
        if let Ok(Ok(Looked::Newer(newer))) = tokio::task::spawn_blocking(look).await {
            tracing::warn!(
                session = session_id.as_str(),
                "the central database is older than this session's files"
            );
            let take = move |db: &WriteTxn| ledger::take_newer(db, &session_id, &newer, clock::now());
            context.central.write(take).await?;
        }
    }
    Ok(())
}
