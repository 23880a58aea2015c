//! The launcher: it starts keepers, and through them runners.
//!
//! Invariant: the runtime opens nothing that the agent can write; a keeper reads that and tells the runtime.

mod choose;
mod keeper;
mod memory;
mod orphans;
mod spec;
mod starved;
mod user;
mod weight;

pub use choose::{ChosenSandbox, Kind};
pub use keeper::{Heard, Keeper};
pub use memory::runs_low;
pub use orphans::adopt_orphans;
pub use weight::words as processors;

use crate::agents::AgentGroup;
use crate::attachments::Limits;
use crate::config::Config;
use crate::error::{Error, IoContext, Result};
use crate::home::Home;
use crate::id::SessionId;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use vestibule_keeper::groups;
use vestibule_keeper::wire::{AdoptSpec, FromForeign, LaunchSpec, RunnerSpec, ToKeeper};
use vestibule_session::{SessionDir, crash};

/// Lets this process have as many files open as its user may: with fewer, an agent that keeps many
/// descriptors on their way through sockets would keep it from sending any.
pub fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Takes the control group that an operator delegated to this process, if there is one: runs and plugins' processes
/// get their groups below it.
pub fn take_delegated_group() {
    match groups::take() {
        Ok(None) => {}
        Ok(Some(group)) => {
            tracing::info!(group = %group.display(), "each run has a control group of its own")
        }
        Err(error) => tracing::warn!(%error, "the control group that was delegated is not used"),
    }
}

/// A keeper that was started.
pub struct Launched {
    /// The keeper.
    pub keeper: Keeper,
    /// How long its runner's provider may be silent, by its settings.
    pub provider_silence: Option<Duration>,
}

/// Which keeper is to be started.
pub struct LaunchRequest {
    /// The session's id.
    pub session_id: SessionId,
    /// The agent group that the session belongs to.
    pub agent: AgentGroup,
    /// The replies up to this number are on record.
    pub after_seq: i64,
    /// Whether it starts a runner; else it only reads what a dead one left.
    pub with_runner: bool,
}

/// Starts keepers, all with one program and one config.
pub struct Launcher {
    home: Home,
    config: Arc<Config>,
    /// The program that runs as `keeper` and as `runner`.
    program: PathBuf,
    /// Which sandbox runners live in, once it was asked for.
    sandbox: OnceCell<ChosenSandbox>,
}

impl Launcher {
    /// A launcher that runs `program keeper`.
    pub fn new(home: Home, config: Arc<Config>, program: PathBuf) -> Launcher {
        Launcher { home, config, program, sandbox: OnceCell::new() }
    }

    /// The sandbox that runners live in here; chosen the first time it is asked for.
    ///
    /// # Errors
    /// Runners cannot be confined, and the config does not allow to run them unconfined.
    pub async fn sandbox(&self) -> Result<&ChosenSandbox> {
        let choose = || async {
            let file = self.program_file()?;
            choose::choose(&self.program, &file, &self.config, &self.home.cache()).await
        };
        self.sandbox.get_or_try_init(choose).await
    }

    /// Starts a session's keeper, with a runner or, to fetch what a dead one left, without.
    ///
    /// # Errors
    /// The process cannot be started, or its folders cannot be made.
    pub async fn launch(&self, request: &LaunchRequest) -> Result<Launched> {
        let agent = &request.agent;
        let dir = SessionDir::new(resolved(self.home.session(&agent.id, &request.session_id).root())?);
        mend_mode(&dir.out())?;
        let runner = if request.with_runner {
            let group = groups::of_run(request.session_id.as_str());
            Some(RunnerSpec { group, ..self.runner(agent, &dir).await? })
        } else {
            None
        };
        let spec = LaunchSpec {
            session_dir: dir.root().to_owned(),
            after_seq: request.after_seq,
            files_bytes_max: Limits::of(&self.config).message_bytes,
            runner,
        };
        let keeper = Keeper::start(&self.program, ToKeeper::Launch(spec)).await?;
        Ok(Launched { keeper, provider_silence: spec::provider_silence(agent) })
    }

    /// How the runner of an agent is started in a session; its settings are written.
    async fn runner(&self, agent: &AgentGroup, dir: &SessionDir) -> Result<RunnerSpec> {
        let agent_folder = resolved(&self.home.make_agent_folder(&agent.folder)?)?;
        let kind = &self.sandbox().await?.kind;
        let program = match kind {
            Kind::Bwrap(_) => self.program_file()?,
            Kind::Process | Kind::None => self.program.clone(),
        };
        let places = spec::Places { program: &program, workspace: dir.root(), agent_folder: &agent_folder };
        let seen = places.seen_in(kind).agent_folder;
        write_whole(&dir.run_config(), &spec::run_config(agent, seen))?;
        if let Kind::Bwrap(bubblewrap) = kind
            && let Some(user) = bubblewrap.user
        {
            dir.share_with(user.gid).context(|| format!("cannot share {}", dir.root().display()))?;
        }
        Ok(spec::runner(agent, &self.config, kind, &places))
    }

    /// Starts a keeper that reads out a session folder that another program made, by way of `scratch`, an empty
    /// private folder.
    ///
    /// # Errors
    /// The process cannot be started.
    pub async fn adopt(&self, folder: &Path, scratch: &Path) -> Result<Keeper<FromForeign>> {
        let limits = Limits::of(&self.config);
        let spec = AdoptSpec {
            folder: folder.to_owned(),
            scratch: scratch.to_owned(),
            files_bytes_max: limits.message_bytes,
            session_bytes_max: limits.session_bytes,
        };
        Keeper::start(&self.program, ToKeeper::Adopt(spec)).await
    }

    /// The program by a path that other processes can open: `/proc/self/exe` is another file for each of them. A
    /// program that was replaced on disk gets a copy of its own.
    fn program_file(&self) -> Result<PathBuf> {
        let program = &self.program;
        let Ok(path) = fs::read_link(program) else { return Ok(program.clone()) };
        let of = |file: &Path| fs::metadata(file).map(|m| (m.dev(), m.ino()));
        let ours = of(program).context(|| format!("cannot look at {}", program.display()))?;
        if of(&path).is_ok_and(|there| there == ours) {
            return Ok(path);
        }
        let copy = self.home.cache().join(format!("vestibule-{}-{}", ours.0, ours.1));
        if !copy.exists() {
            let part = copy.with_extension(crate::id::mint("part"));
            fs::create_dir_all(self.home.cache())
                .and_then(|()| fs::copy(program, &part))
                .and_then(|_| fs::rename(&part, &copy))
                .context(|| format!("cannot make {}", copy.display()))?;
        }
        Ok(copy)
    }
}

/// A folder of the home by a path without a link: above the folders that an agent can write, links are the
/// operator's, and the keeper follows none.
fn resolved(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).context(|| format!("cannot open {}", folder.display()))
}

/// An agent that locked all others out of its `out/` is quarantined; once released it starts with a folder
/// that can be entered. The name is the runtime's; nothing inside is looked at, and no link followed.
fn mend_mode(out: &Path) -> Result<()> {
    const OWNER: Mode = Mode::RWXU;
    let mend = || -> std::io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(out, flags, Mode::empty())?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
        if !mode.contains(OWNER) {
            rustix::fs::chmod(format!("/proc/self/fd/{}", folder.as_raw_fd()), mode | OWNER)?;
        }
        Ok(())
    };
    mend().map_err(|error| match Errno::from_io_error(&error) {
        // No later try finds it otherwise: the agent, or a person, put something else in its place.
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            Error::Session(vestibule_session::Error::Damaged(format!("its out/ cannot be opened: {error}")))
        }
        _ => Error::Io { what: format!("cannot open {}", out.display()), source: error },
    })
}

/// Writes a file whole: a reader sees the old or the new, never a part.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .inspect(|()| crash::point("launch: the settings are written, not in their place"))
        .and_then(|()| fs::rename(&fresh, path))
        .context(|| format!("cannot write {}", path.display()))
}
